//! What is known of the backup: whose it is, how its objects are named and where they lie.

pub(crate) mod hour_prefix;
pub(crate) mod object_time;
pub(crate) mod org_id;
pub(crate) mod source_key;
pub(crate) mod unexpected;
