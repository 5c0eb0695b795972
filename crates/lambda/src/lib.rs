//! The planner, the worker and the auditor as functions of AWS Lambda.
//!
//! Each function reads its [`Settings`] once, builds its clients once and
//! then handles one event after the other with the same `plan`, `work` and `audit` as the command
//! line. What is here is what Lambda adds: events and answers, the time that is left, partial
//! failures of a batch, log lines and metrics.

mod auditor;
mod breaker;
mod clients;
mod messages;
mod metrics;
mod planner;
mod preflight;
mod settings;
mod time;
mod worker;

pub use auditor::{AuditorFunction, Notify};
pub use messages::ChangeVisibility;
pub use planner::{PlannerFunction, PlannerReach};
pub use preflight::{asked_preflight, check_auditor, check_planner, check_worker};
pub use settings::{Settings, SettingsError};
pub use worker::WorkerFunction;
