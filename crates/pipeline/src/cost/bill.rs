//! What a run takes, and what that costs.

use event_recovery_format::OutputFormat;
use serde::{Deserialize, Serialize};

use crate::cost::prices::{PRICES, PricesUsed};

/// Objects on a page of a listing of S3 ("ListObjectsV2" in its API reference).
const LISTED_AT_ONCE: u64 = 1000;
/// A file above this is uploaded in parts of this size, with two requests besides.
const PART_BYTES: u64 = 8 * 1024 * 1024;
/// Messages of one request to SQS.
const MESSAGES_AT_ONCE: u64 = 10;
/// Tasks of one invocation of the worker, by default.
const TASKS_AT_ONCE: u64 = 20;
/// The worker's memory by default, in MB, and so what is billed for each second.
const WORKER_MB: u64 = 1769;
/// Milliseconds of the worker for a GB as stored, and microseconds for an object besides, as `docs/performance.md` has
/// measured them.
const NDJSON_MILLIS_PER_GB: u64 = 2_100;
const PARQUET_MILLIS_PER_GB: u64 = 4_700;
const MICROS_PER_OBJECT: u64 = 3_700;
/// Records that are written for each hour and for each run besides task lists and receipts, and what an auditor and a planner
/// read and list: counted in `tests/e2e/counting.py`.
const WRITES_PER_HOUR: u64 = 2;
const READS_PER_HOUR: u64 = 2;
const WRITES_PER_RUN: u64 = 12;
const READS_PER_RUN: u64 = 14;
const LISTS_PER_RUN: u64 = 34;

/// What a run takes and costs on AWS; between folders, what it would.
///
/// Before a run it is a forecast from the listing. In a report it is computed from what receipts and files show, by the same
/// rules. Lambda's time is an estimate in both; what AWS bills is what counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// The table of prices.
    pub prices: PricesUsed,
    /// Requests.
    pub requests: Requests,
    /// Bytes read of the source, as stored.
    pub bytes_read: u64,
    /// Seconds of a function with 1 GB, rounded up.
    pub lambda_gb_seconds: u64,
    /// Millionths of a US dollar.
    pub micro_usd: MicroUsd,
}

/// Requests by what they are for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// LIST requests to the source.
    pub source_list: u64,
    /// GET requests to the source.
    pub source_get: u64,
    /// LIST requests to the destination.
    pub destination_list: u64,
    /// GET requests to the destination.
    pub destination_get: u64,
    /// PUT requests to the destination, and those of uploads in parts.
    pub destination_put: u64,
    /// Requests to SQS.
    pub queue: u64,
    /// Invocations of Lambda.
    pub lambda: u64,
}

/// Millionths of a US dollar, by service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MicroUsd {
    /// Requests to S3.
    pub s3: u64,
    /// Lambda.
    pub lambda: u64,
    /// SQS.
    pub sqs: u64,
    /// All of them.
    pub total: u64,
}

/// What there is to do, or was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Work {
    /// Hours that are listed.
    pub(crate) hours: u64,
    /// Objects that the listings show.
    pub(crate) listed: u64,
    /// Tasks.
    pub(crate) tasks: u64,
    /// Readings of objects.
    pub(crate) readings: u64,
    /// Bytes of the objects as stored.
    pub(crate) bytes: u64,
    /// Files that are written, without receipts.
    pub(crate) files: u64,
    /// Bytes of these files.
    pub(crate) file_bytes: u64,
    /// Receipts that are written.
    pub(crate) receipts: u64,
}

impl Work {
    /// What a plan will take. Files of NDJSON are about as large as the objects if neither is compressed; those of Parquet
    /// are never so large that they have parts.
    pub(crate) fn planned(
        hours: u64,
        listed: u64,
        tasks: u64,
        bytes: u64,
        output: OutputFormat,
    ) -> Self {
        Self {
            hours,
            listed,
            tasks,
            readings: tasks,
            bytes,
            files: tasks,
            file_bytes: match output {
                OutputFormat::Parquet(_) => 0,
                OutputFormat::Ndjson(_) => bytes,
            },
            receipts: tasks,
        }
    }
}

impl Cost {
    pub(crate) fn of(work: &Work, output: OutputFormat) -> Self {
        let requests = requests(work);
        let millis_per_gb = match output {
            OutputFormat::Ndjson(_) => NDJSON_MILLIS_PER_GB,
            OutputFormat::Parquet(_) => PARQUET_MILLIS_PER_GB,
        };
        let millis = scaled(work.bytes, millis_per_gb, 1_000_000_000)
            + scaled(work.readings, MICROS_PER_OBJECT, 1000);
        let mb_millis = u128::from(millis) * u128::from(WORKER_MB);
        let lambda_gb_seconds = u64::try_from(mb_millis.div_ceil(1_000_000)).unwrap_or(u64::MAX);
        let Requests {
            source_list,
            source_get,
            destination_list,
            destination_get,
            destination_put,
            queue,
            lambda,
        } = requests;
        let micros = |nanos: u64| nanos.div_ceil(1000);
        let s3 = micros(
            (source_list + destination_list + destination_put).saturating_mul(PRICES.put_or_list)
                + (source_get + destination_get).saturating_mul(PRICES.get),
        );
        let lambda = micros(
            lambda_gb_seconds.saturating_mul(PRICES.gb_second)
                + lambda.saturating_mul(PRICES.invocation),
        );
        let sqs = micros(queue.saturating_mul(PRICES.queue_request));
        Self {
            prices: PRICES.used(),
            requests,
            bytes_read: work.bytes,
            lambda_gb_seconds,
            micro_usd: MicroUsd {
                s3,
                lambda,
                sqs,
                total: s3 + lambda + sqs,
            },
        }
    }
}

fn requests(work: &Work) -> Requests {
    // Each hour is a listing of its own, and most have a page.
    let more_pages = (work.listed / LISTED_AT_ONCE).saturating_sub(work.hours);
    let days = work.hours.div_ceil(24);
    let average = work.file_bytes / work.files.max(1);
    let per_file = match average > PART_BYTES {
        true => 2 + average.div_ceil(PART_BYTES),
        false => 1,
    };
    let batches = work.tasks.div_ceil(MESSAGES_AT_ONCE);
    Requests {
        source_list: work.hours + more_pages + days,
        source_get: work.readings,
        destination_list: LISTS_PER_RUN + (work.receipts + work.files) / LISTED_AT_ONCE,
        destination_get: READS_PER_RUN + READS_PER_HOUR * work.hours + work.receipts,
        destination_put: WRITES_PER_RUN
            + WRITES_PER_HOUR * work.hours
            + per_file * work.files
            + work.receipts,
        // Sent, received and deleted; and the auditor's call.
        queue: 3 * batches + 3,
        lambda: work.tasks.div_ceil(TASKS_AT_ONCE) + 3,
    }
}

/// `number * factor / divisor`, rounded up.
fn scaled(number: u64, factor: u64, divisor: u64) -> u64 {
    let scaled = (u128::from(number) * u128::from(factor)).div_ceil(u128::from(divisor));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use event_recovery_format::{NdjsonCompression, ParquetCompression};

    use super::*;

    const NDJSON: OutputFormat = OutputFormat::Ndjson(NdjsonCompression::None);
    const PARQUET: OutputFormat = OutputFormat::Parquet(ParquetCompression::Zstd);

    /// `docs/performance.md` has the same sums.
    #[test]
    fn a_terabyte_and_a_million_small_objects_cost_what_the_documents_say() {
        let terabyte = |output| {
            let work = Work::planned(1_000, 100_000, 100_000, 1_000_000_000_000, output);
            Cost::of(&work, output).micro_usd
        };
        let dollars = |micro_usd: u64| micro_usd as f64 / 1e6;
        assert!(
            (dollars(terabyte(NDJSON).total) - 2.65).abs() < 0.15,
            "{:?}",
            terabyte(NDJSON)
        );
        assert!(
            (dollars(terabyte(PARQUET).total) - 1.23).abs() < 0.15,
            "{:?}",
            terabyte(PARQUET)
        );
        let small = Work::planned(1_000, 1_000_000, 1_000_000, 4_000_000_000, PARQUET);
        let small = Cost::of(&small, PARQUET).micro_usd;
        assert!((dollars(small.total) - 11.0).abs() < 0.5, "{small:?}");
        assert_eq!(small.total, small.s3 + small.lambda + small.sqs);
    }

    #[test]
    fn hostile_sizes_do_not_overflow() {
        let most = u64::MAX / 1_000_000;
        let work = Work::planned(most, most, most, u64::MAX, NDJSON);
        assert!(Cost::of(&work, NDJSON).micro_usd.total > 0);
    }
}
