//! Plans, recovers and audits a range of backups.
//!
//! A run consists of three functions that communicate through the ledger alone:
//!
//! - [`Planner::plan`] lists the hour prefixes of the range and queues one [`Task`] per object;
//! - [`Worker::work`] recovers the object of one task and writes its [`Receipt`];
//! - [`audit`] compares plan, receipts and output, and writes the [`Report`].
//!
//! They use storage and queue through small traits, such as [`ListObjects`] and [`SendTasks`].
//! [`LocalFolder`] and [`InProcessQueue`] implement these on one machine; [`Run`] runs the three
//! functions in one process:
//!
//! ```
//! use std::sync::Arc;
//!
//! use chrono::Utc;
//! use event_recovery_pipeline::{
//!     Ended, ExecutionId, LinkedOrgs, LocalFolder, PlanLimits, RecoveryRequest, RequestLimits, Run, RunTerms,
//!     Tolerance, TransformLimits, Unobserved, Verdict,
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
//!     small_objects: 1,
//!     only: None,
//!     linked_orgs: LinkedOrgs::default(),
//!     terms: RunTerms::default(),
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
mod backup;
mod compare;
mod contract;
mod cost;
mod deliver;
mod ledger;
mod page;
mod plan;
mod preflight;
mod queue;
mod recheck;
mod recovered;
mod request;
mod run;
mod runs;
mod signature;
mod storage;
mod work;

pub use audit::call::{
    AUDIT_CALL_VERSION, AUDIT_WAIT_HOURS_MAX, AuditCall, AuditCallError, AuditCaller, CLAIM_SECS,
    CallAuditor, Claim, claim_call, end_call, is_ended, release_call,
};
pub use audit::dead_letter::{DeadLetter, Standing};
pub use audit::error::AuditError;
pub use audit::{AUDIT_ATTEMPTS_MAX, Audited, audit, audit_when_finished, inspect, verify};
pub use backup::hour_prefix::{HourPrefix, HourPrefixError};
pub use backup::linked_orgs::LinkedOrgs;
pub use backup::object_time::ObjectTime;
pub use backup::org_id::{OrgId, OrgIdError};
pub use backup::source_key::{SourceKey, SourceKeyError, TaskId};
pub use backup::unexpected::Unexpected;
pub use compare::Comparing;
pub use compare::error::CompareError;
pub use compare::received::ReceivedFile;
pub use compare::record::{
    ComparedEvents, ComparedInput, Comparison, ComparisonId, Duplicates, RepeatedIds,
};
pub use contract::notification::{AuditedRun, NotAuditedRun, Notification, RefusedRun};
pub use contract::places::RunPlaces;
pub use contract::planner::{
    AskedLimits, CheckedRequest, PlannerAnswer, PlannerPayload, PlannerReply,
};
pub use contract::planner_error::{PlannerError, PlannerErrorKind};
pub use contract::recheck::{CheckedRecheck, DueAnswer, RecheckAnswer, RecheckPayload};
pub use contract::salvage::{SalvageAnswer, SalvagePayload};
pub use cost::bill::{Cost, MicroUsd, Requests};
pub use cost::prices::PricesUsed;
pub use deliver::error::DeliverError;
pub use deliver::missing::MISSING_IDS_MAX;
pub use deliver::pace::{Pace, Stop};
pub use deliver::record::{
    DeliveredEvents, DeliveryRecord, DeliveryReport, DeliveryTerms, FateCounts, PartRecord,
    PartState, RefusedEvent, SentEvent,
};
pub use deliver::target::{
    BATCH_EVENTS_MAX, Fate, Outgoing, SendEvents, TargetError, TargetLimits, Unwatched,
    WatchConsumer,
};
pub use deliver::{Delivering, DeliveryForecast};
pub use event_recovery_format::{NdjsonCompression, OutputFormat, ParquetCompression};
pub use ledger::audit_record::{AuditAnswer, AuditAnswerKind, AuditRecord, audit_record};
pub use ledger::cancellation::Cancellation;
pub use ledger::hour::{HourHead, HourTasks};
pub use ledger::kinds::{KINDS_MAX, Kinds};
pub use ledger::late_plan::LatePlanRecord;
pub use ledger::loss::LossRecord;
pub use ledger::observer::{Observer, Unobserved};
pub use ledger::orgs::{ORGS_MAX, Orgs};
pub use ledger::plan_record::{PlanRecord, PlannedDay, PlannedObjects};
pub use ledger::planning_record::{PlanningRecord, PlanningState, Refusal, RefusalKind};
pub use ledger::provisional::ProvisionalRecord;
pub use ledger::receipt::{
    ByteCounts, Counts, Damage, Done, EventCounts, Output, Receipt, Salvaged, State,
};
pub use ledger::recheck_record::{NamedKeys, RecheckRecord};
pub use ledger::report::{
    AcceptedLoss, AuditDigests, Finality, HourBalance, LateCounts, ObjectCounts, OutputCounts,
    Report, SalvageCounts, SalvagedObject, Times, Unrecovered, Verdict,
};
pub use ledger::seal::{Seal, digest};
pub use ledger::{
    LEDGER_VERSION, Ledger, LedgerError, RequestRecord, SOFTWARE, Sealed, Versioned, find_record,
    read_record, read_sealed, to_json,
};
pub use page::report_page;
pub use plan::call::Planned;
pub use plan::error::{PlanError, PlanStep};
pub use plan::forecast::forecast;
pub use plan::limits::PlanLimits;
pub use plan::preview::preview;
pub use plan::{Planner, RunTerms, check_request};
pub use preflight::check::{Check, Outcome};
pub use preflight::destination::{Writer, check_destination};
pub use preflight::need::{BucketReach, Need, Party, Reach};
pub use preflight::source::check_source;
pub use queue::in_process::InProcessQueue;
pub use queue::task::{TASK_VERSION, Task};
pub use queue::{ATTEMPT_SECS_MAX, QueueError, SendTasks};
pub use recheck::due::{CheckedRuns, FailedRecheck};
pub use recheck::schedule_watch::{MissedWindow, missed_windows};
pub use recheck::{Rechecked, check_recheck};
pub use request::error::RequestError;
pub use request::execution_id::{EXECUTION_ID_BYTES_MAX, ExecutionId, ExecutionIdError, RunOrigin};
pub use request::filters::{Dedupe, Filters};
pub use request::late_allowance::{
    LATE_ALLOWANCE_HOURS_DEFAULT, LATE_ALLOWANCE_HOURS_MAX, LateAllowance, LateAllowanceError,
};
pub use request::output::{Compression, Format};
pub use request::resolved::{ResolvedRequest, WindowParameters};
pub use request::schedule::{SCHEDULE_INTERVALS_HOURS, Schedule, ScheduleError};
pub use request::window::{
    LAG_DEFAULT_SECS, LEAD_DEFAULT_SECS, TOLERANCE_SECS_MAX, Tolerance, Window, WindowError,
    WindowKind,
};
pub use request::{REQUEST_BYTES_MAX, RecoveryRequest, RequestLimits, Resolution};
pub use run::{Ended, OnlyObject, Run, RunError};
pub use runs::list::{ListedRun, RunState, list_runs};
pub use runs::loss::{LOSS_REASON_CHARS_MAX, LossError, accept_loss, revoke_loss};
pub use runs::planned_object::planned_object;
pub use signature::error::{SignError, SignatureError};
pub use signature::statement::{SignatureRecord, SignedStatement};
pub use signature::{PublicKey, Sign, says_the_same, sign_report, verify_signature};
pub use storage::file_system::{FileSystem, NewFile, WholeFileSystem};
pub use storage::folder_lock::{FolderLock, FolderLockError};
pub use storage::listing::{count_objects, list_all, list_entries};
pub use storage::local_folder::LocalFolder;
pub use storage::operating_system::OperatingSystem;
pub use storage::{
    Circumstances, CreateObject, Destination, LedgerStorage, LevelPage, ListObjects, ListPage,
    ListedObject, OpenObject, Precondition, Problem, Record, Records, RequestId, RunStorage,
    Source, StagedObject, StorageError, StorageOperation, Subject, UnreadableEntry, Written,
};
pub use work::audit_looks::AuditLooks;
pub use work::cancellations::Cancellations;
pub use work::day_files::OPEN_DATES_MAX;
pub use work::delivery::Delivery;
pub use work::duplicates::DEDUPE_EVENTS_MAX;
pub use work::job::{DATES_MAX, TransformLimits};
pub use work::source_access::{Denials, SourceAccess};
pub use work::turn::SMALL_OBJECT_BYTES_MAX;
pub use work::{WorkError, Worker};
