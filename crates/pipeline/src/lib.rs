//! Plans, recovers and audits a range of backups.
//!
//! A run is carried out by three functions that know nothing of each other but the ledger:
//!
//! - [`Planner::plan`] lists the hour prefixes of the range and queues one [`Task`] per object;
//! - [`Worker::work`] recovers the object of one task and leaves a [`Receipt`];
//! - [`audit`] compares plan, receipts and output, and writes the [`Report`].
//!
//! They reach storage and queue through small traits, such as [`ListObjects`] and [`SendTasks`].
//! [`LocalFolder`] and [`InProcessQueue`] implement them on one machine; [`Run`] puts the three
//! functions together in one process:
//!
//! ```
//! use std::sync::Arc;
//!
//! use chrono::Utc;
//! use event_recovery_pipeline::{
//!     Ended, ExecutionId, LocalFolder, PlanLimits, RecoveryRequest, RequestLimits, Run, Tolerance,
//!     TransformLimits, Unobserved, Verdict,
//! };
//!
//! # let folder = tempfile::tempdir()?;
//! # let (source, destination) = (folder.path().join("backup"), folder.path().join("recovered"));
//! let request = br#"{
//!     "org_id": "tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be",
//!     "start": "2024-04-01T00:00:00Z", "end": "2024-04-01T01:00:00Z", "format": "ndjson"
//! }"#;
//! let resolution = RecoveryRequest::from_json(request)?.resolve(
//!     &RequestLimits::default(),
//!     &Tolerance::default(),
//!     Utc::now(),
//! )?;
//! let hour = source.join("main_stream/2024/04/01/00");
//! std::fs::create_dir_all(&hour)?;
//! std::fs::write(
//!     hour.join("any-name"),
//!     r#"{"event_id":"a","timestamp":"2024-04-01T00:10:00Z"}{"event_id":"b","arrival_epoch":1711930500000}"#,
//! )?;
//!
//! let run = Run {
//!     source: Arc::new(LocalFolder::new(&source, folder.path().join("unused"))),
//!     destination: Arc::new(LocalFolder::new(&destination, destination.join("_recovery/.staging"))),
//!     request: resolution.request,
//!     execution_id: ExecutionId::parse("example")?,
//!     concurrency: 2,
//!     plan_limits: PlanLimits::default(),
//!     transform_limits: TransformLimits::default(),
//!     observer: Arc::new(Unobserved),
//! };
//! let (_keep, stop) = tokio::sync::watch::channel(false);
//! let ended = tokio::runtime::Runtime::new()?.block_on(run.carry_out(stop))?;
//! let Ended::Audited(report) = ended else { unreachable!("nobody stopped it") };
//! assert_eq!(report.events.written, 2);
//! assert_eq!(report.verdict, Verdict::NeedsLook);
//! assert_eq!(report.reasons, ["objects with foreign names: 1"]);
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod audit;
mod audit_call;
mod checksum;
mod direct_file;
mod execution_id;
mod hour_prefix;
mod ledger;
mod local_folder;
mod object_name;
mod observer;
mod org_id;
mod plan;
mod queue;
mod receipt;
mod report;
mod request;
mod request_error;
mod resolved_request;
mod run;
mod schedule;
mod staged_output;
mod storage;
mod task;
mod transform;
mod window;
mod work;

pub use audit::{AuditError, Audited, audit, audit_when_finished, inspect, verify};
pub use audit_call::{
    AUDIT_CALL_VERSION, AUDIT_WAIT_HOURS_MAX, AuditCall, AuditCallError, AuditCaller, AuditRecord,
    CallAuditor, audit_record, claim_call, end_call, is_ended, release_call,
};
pub use execution_id::{EXECUTION_ID_BYTES_MAX, ExecutionId, ExecutionIdError};
pub use hour_prefix::{HourPrefix, HourPrefixError};
pub use ledger::{
    HourHead, HourTasks, LEDGER_VERSION, Ledger, LedgerError, RequestRecord, SOFTWARE, Versioned,
    read_record,
};
pub use local_folder::LocalFolder;
pub use object_name::ObjectTime;
pub use observer::{Observer, Unobserved};
pub use org_id::{OrgId, OrgIdError};
pub use plan::{
    PlanError, PlanLimits, PlanRecord, Planned, PlannedDay, PlannedObjects, Planner, preview,
};
pub use queue::{InProcessQueue, QueueError, SendTasks};
pub use receipt::{ByteCounts, Counts, Done, EventCounts, Output, Receipt, State};
pub use report::{HourBalance, ObjectCounts, OutputCounts, Report, Times, Unrecovered, Verdict};
pub use request::{REQUEST_BYTES_MAX, RecoveryRequest, RequestLimits, Resolution};
pub use request_error::RequestError;
pub use resolved_request::{Compression, Filters, Format, ResolvedRequest, WindowParameters};
pub use run::{Ended, Run, RunError};
pub use schedule::{SCHEDULE_INTERVALS_HOURS, Schedule, ScheduleError, scheduled_execution_id};
pub use storage::{
    CreateObject, Destination, ListObjects, ListPage, ListedObject, OpenObject, Precondition,
    Problem, Record, Records, Source, StagedObject, StorageError, Written, list_all,
};
pub use task::{SourceKey, SourceKeyError, TASK_VERSION, Task, TaskId};
pub use transform::{OPEN_DATES_MAX, TransformLimits};
pub use window::{
    LAG_DEFAULT_SECS, LEAD_DEFAULT_SECS, TOLERANCE_SECS_MAX, Tolerance, Window, WindowError,
    WindowKind,
};
pub use work::{Delivery, WorkError, Worker};
