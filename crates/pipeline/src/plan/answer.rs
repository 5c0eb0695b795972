//! What a planner that runs elsewhere is asked, and what it answers. Both sides use these types.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::backup::hour_prefix::HourPrefix;
use crate::ledger::Ledger;
use crate::ledger::plan_record::{PlanRecord, PlannedDay, PlannedObjects};
use crate::plan::call::Planned;
use crate::request::RecoveryRequest;
use crate::request::error::{RequestError, any_of};
use crate::request::execution_id::ExecutionId;
use crate::request::resolved::ResolvedRequest;

/// The field beside a request that asks for a check.
const CHECK_FIELD: &str = "check";

/// A request as a planner elsewhere takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PlannerPayload<'a> {
    /// Only say whether the request would be taken: nothing is listed, written or queued. The
    /// answer is a [`CheckedRequest`].
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub check: bool,
    /// What is asked for.
    #[serde(flatten)]
    pub request: &'a RecoveryRequest,
}

impl PlannerPayload<'_> {
    /// Takes the field `check` out of a payload, which leaves what [`RecoveryRequest::from_json`]
    /// reads. Absent and `null` mean `false`.
    ///
    /// # Errors
    ///
    /// The field, if it is of another JSON type.
    pub fn take_check(payload: &mut Value) -> Result<bool, RequestError> {
        let Some(fields) = payload.as_object_mut() else {
            return Ok(false);
        };
        match fields.remove(CHECK_FIELD) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(check)) => Ok(check),
            Some(_) => Err(RequestError::new(CHECK_FIELD, "has the wrong JSON type")
                .accepts(any_of(["true", "false"]))),
        }
    }
}

/// Where a run's ledger and events lie, as URLs that end with a slash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunPlaces {
    /// [`Ledger::folder`].
    pub ledger: String,
    /// [`Ledger::output_prefix`].
    pub output: String,
}

impl RunPlaces {
    /// The places of a run; `place` makes a URL of a key of the destination.
    pub fn of(execution_id: &ExecutionId, place: impl Fn(&str) -> String) -> Self {
        let ledger = Ledger::new(execution_id.clone());
        Self {
            ledger: place(&format!("{}/", ledger.folder())),
            output: place(&ledger.output_prefix()),
        }
    }
}

/// The planner would take the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckedRequest {
    /// The id to send the request with: its own, or a new one.
    pub execution_id: ExecutionId,
    /// The request with the planner's defaults, as the ledger will hold it.
    pub request: ResolvedRequest,
    /// Where the run will lie, or lies.
    #[serde(flatten)]
    pub places: RunPlaces,
}

/// A complete plan, or what a dry run found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannerAnswer {
    /// The run.
    pub execution_id: ExecutionId,
    /// Whether nothing was written and queued.
    pub dry_run: bool,
    /// See [`PlanRecord::hours`].
    pub hours: u64,
    /// See [`PlanRecord::empty_hours`].
    pub empty_hours: Vec<HourPrefix>,
    /// See [`PlanRecord::objects`].
    pub objects: PlannedObjects,
    /// See [`PlanRecord::foreign_names`].
    pub foreign_names: u64,
    /// See [`PlanRecord::bytes`].
    pub bytes: u64,
    /// See [`PlanRecord::days`]; only for a dry run, since a range can have many.
    pub days: Option<Vec<PlannedDay>>,
    /// See [`Planned::tasks_queued`].
    pub tasks_queued: u64,
    /// See [`RunPlaces::ledger`]; `None` for a dry run, which has none.
    pub ledger: Option<String>,
    /// See [`RunPlaces::output`]; `None` for a dry run.
    pub output: Option<String>,
}

impl PlannerAnswer {
    /// The answer about a run that was planned.
    pub fn planned(planned: Planned, places: RunPlaces) -> Self {
        let Planned { plan, tasks_queued } = planned;
        Self {
            dry_run: false,
            days: None,
            tasks_queued,
            ledger: Some(places.ledger),
            output: Some(places.output),
            ..Self::dry_run(plan)
        }
    }

    /// The answer of a dry run.
    pub fn dry_run(plan: PlanRecord) -> Self {
        Self {
            execution_id: plan.execution_id,
            dry_run: true,
            hours: plan.hours,
            empty_hours: plan.empty_hours,
            objects: plan.objects,
            foreign_names: plan.foreign_names,
            bytes: plan.bytes,
            days: Some(plan.days),
            tasks_queued: 0,
            ledger: None,
            output: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request() -> RecoveryRequest {
        RecoveryRequest {
            org_id: "tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be".to_owned(),
            start: "2024-04-01".to_owned(),
            end: "2024-04-02".to_owned(),
            domains: vec!["account".to_owned()],
            execution_id: Some("mine".to_owned()),
            ..RecoveryRequest::default()
        }
    }

    #[test]
    fn a_check_travels_beside_the_request_and_leaves_it_as_it_is() {
        for check in [false, true] {
            let request = request();
            let payload = PlannerPayload {
                check,
                request: &request,
            };
            let mut payload = serde_json::to_value(payload).unwrap();
            assert_eq!(PlannerPayload::take_check(&mut payload), Ok(check));
            let rest = payload.to_string();
            assert_eq!(RecoveryRequest::from_json(rest.as_bytes()), Ok(request));
        }
    }

    #[test]
    fn a_check_is_true_or_false() {
        let rows = [
            (json!({}), Some(false)),
            (json!([]), Some(false)),
            (json!({"check": null}), Some(false)),
            (json!({"check": false}), Some(false)),
            (json!({"check": true}), Some(true)),
            (json!({"check": "true"}), None),
            (json!({"check": 1}), None),
        ];
        for (mut payload, expected) in rows {
            let shown = payload.to_string();
            let found = PlannerPayload::take_check(&mut payload);
            assert_eq!(found.ok(), expected, "{shown}");
        }
    }
}
