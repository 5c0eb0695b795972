//! What a run costs on AWS: requests, Lambda's time, and dollars.

pub(crate) mod bill;
pub(crate) mod prices;
