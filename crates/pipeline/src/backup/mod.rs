//! The backup's layout: orgs, hour prefixes, and the names of objects.

pub(crate) mod hour_prefix;
pub(crate) mod linked_orgs;
pub(crate) mod object_time;
pub(crate) mod org_id;
pub(crate) mod source_key;
pub(crate) mod unexpected;
