//! The one table of prices.

use serde::{Deserialize, Serialize};

/// List prices, in billionths of a US dollar.
///
/// From <https://aws.amazon.com/s3/pricing/>, <https://aws.amazon.com/lambda/pricing/> and
/// <https://aws.amazon.com/sqs/pricing/>, without free tiers and discounts.
pub(crate) const PRICES: Prices = Prices {
    region: "us-east-1",
    as_of: "2026-11",
    put_or_list: 5_000,
    get: 400,
    queue_request: 400,
    invocation: 200,
    gb_second: 16_667,
};

/// Prices of one region on one day.
pub(crate) struct Prices {
    pub(crate) region: &'static str,
    pub(crate) as_of: &'static str,
    /// A PUT, COPY, POST or LIST request to S3 Standard.
    pub(crate) put_or_list: u64,
    /// A GET request to S3 Standard.
    pub(crate) get: u64,
    /// A request to a standard queue of SQS.
    pub(crate) queue_request: u64,
    /// An invocation of Lambda.
    pub(crate) invocation: u64,
    /// A second of a function with 1 GB, x86-64.
    pub(crate) gb_second: u64,
}

/// Which prices a cost was computed with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PricesUsed {
    /// The region.
    pub region: String,
    /// The month, `YYYY-MM`.
    pub as_of: String,
}

impl Prices {
    pub(crate) fn used(&self) -> PricesUsed {
        PricesUsed {
            region: self.region.to_owned(),
            as_of: self.as_of.to_owned(),
        }
    }
}
