//! The payload of a remote planner, and its answer.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::backup::hour_prefix::HourPrefix;
use crate::contract::places::RunPlaces;
use crate::contract::recheck::{CheckedRecheck, DueAnswer, RecheckAnswer};
use crate::contract::salvage::SalvageAnswer;
use crate::cost::bill::Cost;
use crate::ledger::plan_record::{PlanRecord, PlannedDay, PlannedObjects};
use crate::plan::call::Planned;
use crate::plan::limits::PlanLimits;
use crate::request::RecoveryRequest;
use crate::request::error::{RequestError, any_of};
use crate::request::execution_id::ExecutionId;
use crate::request::resolved::ResolvedRequest;

/// The field of a payload that asks for a check, next to the fields of the request.
const CHECK_FIELD: &str = "check";

/// The field of a payload with the limits of the run, next to the fields of the request.
const LIMITS_FIELD: &str = "limits";

/// Limits that a caller sets for one run. They can only lower those of the planner.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskedLimits {
    /// See [`PlanLimits::objects_max`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects_max: Option<u64>,
    /// See [`PlanLimits::bytes_max`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_max: Option<u64>,
    /// See [`PlanLimits::micro_usd_max`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub micro_usd_max: Option<u64>,
}

impl AskedLimits {
    /// Whether nothing is limited.
    pub fn are_none(&self) -> bool {
        *self == Self::default()
    }

    /// The planner's limits, lowered to these.
    pub fn lower(&self, limits: PlanLimits) -> PlanLimits {
        let lower = |limit: u64, asked: Option<u64>| limit.min(asked.unwrap_or(u64::MAX));
        PlanLimits {
            objects_max: lower(limits.objects_max, self.objects_max),
            bytes_max: lower(limits.bytes_max, self.bytes_max),
            micro_usd_max: lower(limits.micro_usd_max, self.micro_usd_max),
        }
    }
}

/// A request as a remote planner receives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PlannerPayload<'a> {
    /// Only say whether the request would be accepted: nothing is listed, written or queued. The answer is
    /// a [`CheckedRequest`].
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub check: bool,
    /// Limits of this run.
    #[serde(skip_serializing_if = "AskedLimits::are_none")]
    pub limits: AskedLimits,
    /// What is asked for.
    #[serde(flatten)]
    pub request: &'a RecoveryRequest,
}

impl PlannerPayload<'_> {
    /// Takes the field `limits` out of a payload. Absent and `null` mean none.
    ///
    /// # Errors
    ///
    /// The field, if it has another form.
    pub fn take_limits(payload: &mut Value) -> Result<AskedLimits, RequestError> {
        let limits = payload
            .as_object_mut()
            .and_then(|fields| fields.remove(LIMITS_FIELD))
            .filter(|limits| !limits.is_null());
        let Some(limits) = limits else {
            return Ok(AskedLimits::default());
        };
        serde_json::from_value(limits).map_err(|_| {
            RequestError::new(LIMITS_FIELD, "is not an object of limits").accepts(
                "an object with any of the numbers `objects_max`, `bytes_max` and `micro_usd_max`"
                    .to_owned(),
            )
        })
    }

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

/// The planner would accept the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "CheckedRequestJson")]
pub struct CheckedRequest {
    /// The id to send the request with: its own, or a new one.
    pub execution_id: ExecutionId,
    /// The request with the planner's defaults, as the ledger will hold it.
    pub request: ResolvedRequest,
    /// Where the run's ledger and events are, or will be.
    #[serde(flatten)]
    pub places: RunPlaces,
}

/// [`CheckedRequest`] before its URLs are checked to be those of its run.
#[derive(Deserialize)]
struct CheckedRequestJson {
    execution_id: ExecutionId,
    request: ResolvedRequest,
    ledger: String,
    output: String,
}

/// The URLs of an answer are not those of its run.
#[derive(Debug, thiserror::Error)]
#[error("`ledger` and `output` are not the places of the run `{execution_id}`")]
struct OtherPlaces {
    execution_id: ExecutionId,
}

impl TryFrom<CheckedRequestJson> for CheckedRequest {
    type Error = OtherPlaces;

    fn try_from(json: CheckedRequestJson) -> Result<Self, OtherPlaces> {
        let CheckedRequestJson {
            execution_id,
            request,
            ledger,
            output,
        } = json;
        match RunPlaces::parse(&execution_id, &ledger, &output) {
            Some(places) => Ok(Self {
                execution_id,
                request,
                places,
            }),
            None => Err(OtherPlaces { execution_id }),
        }
    }
}

/// What a planner answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PlannerReply {
    /// To a check.
    Checked(Box<CheckedRequest>),
    /// To a request, a dry run or a schedule.
    Planned(Box<PlannerAnswer>),
    /// To the recheck of one run.
    Rechecked(Box<RecheckAnswer>),
    /// To a periodic check.
    CheckedRuns(Box<DueAnswer>),
    /// To the check of a recheck.
    CheckedRecheck(CheckedRecheck),
    /// To a salvage.
    Salvaging(SalvageAnswer),
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
    /// What the run would cost; only for a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast: Option<Cost>,
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
            forecast: None,
            tasks_queued,
            ledger: Some(places.ledger),
            output: Some(places.output),
            ..Self::dry_run(plan, None)
        }
    }

    /// The answer of a dry run.
    pub fn dry_run(plan: PlanRecord, forecast: Option<Cost>) -> Self {
        Self {
            forecast,
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
                limits: AskedLimits::default(),
                check,
                request: &request,
            };
            let mut payload = serde_json::to_value(payload).unwrap();
            assert_eq!(PlannerPayload::take_check(&mut payload), Ok(check));
            let rest = payload.to_string();
            assert_eq!(RecoveryRequest::from_json(rest.as_bytes()), Ok(request));
        }
    }

    fn id() -> ExecutionId {
        ExecutionId::parse("mine").unwrap()
    }

    fn resolved() -> Value {
        json!({
            "org_id": "tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be",
            "start": "2024-04-01T00:00:00Z", "end": "2024-04-03T00:00:00Z",
            "window": {"kind": "arrival", "lead_secs": 900, "lag_secs": 3600},
            "format": "parquet", "compression": "zstd", "domains": ["account"], "event_types": [],
        })
    }

    fn plan() -> PlanRecord {
        serde_json::from_value(json!({
            "version": 2, "software": "event-recovery 0.1.0", "execution_id": "mine",
            "created_at": "2024-04-03T00:00:00Z", "planned_at": "2024-04-03T00:00:00Z",
            "request": resolved(), "hours": 2, "empty_hours": ["2024-04-01T01"],
            "objects": {"listed": 9, "pruned": 2, "planned": 7}, "foreign_names": 1, "bytes": 700,
            "days": [{
                "date": "2024-04-01", "objects": {"listed": 9, "pruned": 2, "planned": 7},
                "bytes": 700, "empty_hours": ["2024-04-01T01"],
            }],
        }))
        .unwrap()
    }

    fn assert_reads_as(reply: PlannerReply, expected: &str) {
        assert_eq!(serde_json::to_string(&reply).unwrap(), expected);
        let read: PlannerReply = serde_json::from_str(expected).unwrap();
        assert_eq!(read, reply);
    }

    #[test]
    fn a_checked_request_is_answered_with_its_places() {
        for destination in ["s3://bucket", "s3://bucket/some/prefix"] {
            let checked = CheckedRequest {
                execution_id: id(),
                request: serde_json::from_value(resolved()).unwrap(),
                places: RunPlaces::of(&id(), destination),
            };
            let expected = format!(
                r#"{{"execution_id":"mine","request":{},"ledger":"{destination}/_recovery/mine/","output":"{destination}/execution_id=mine/"}}"#,
                serde_json::to_string(&checked.request).unwrap(),
            );
            assert_reads_as(PlannerReply::Checked(Box::new(checked)), &expected);
        }
    }

    #[test]
    fn places_of_another_run_are_no_answer() {
        let rows = [
            ("s3://b/_recovery/other/", "s3://b/execution_id=mine/"),
            ("s3://b/_recovery/mine/", "s3://b/execution_id=other/"),
            ("s3://b/_recovery/mine/", "s3://c/execution_id=mine/"),
            ("s3://b/_recovery/mine", "s3://b/execution_id=mine"),
        ];
        for (ledger, output) in rows {
            let json = json!({
                "execution_id": "mine", "request": resolved(), "ledger": ledger, "output": output,
            });
            let read = serde_json::from_value::<CheckedRequest>(json);
            let message = read.unwrap_err().to_string();
            assert!(message.contains("places of the run `mine`"), "{message}");
        }
    }

    #[test]
    fn a_plan_and_a_dry_run_are_answered_with_the_same_names() {
        let planned = Planned {
            plan: plan(),
            tasks_queued: 7,
        };
        let answer = PlannerAnswer::planned(planned, RunPlaces::of(&id(), "s3://b"));
        assert_reads_as(
            PlannerReply::Planned(Box::new(answer)),
            r#"{"execution_id":"mine","dry_run":false,"hours":2,"empty_hours":["2024-04-01T01"],"objects":{"listed":9,"pruned":2,"planned":7},"foreign_names":1,"bytes":700,"days":null,"tasks_queued":7,"ledger":"s3://b/_recovery/mine/","output":"s3://b/execution_id=mine/"}"#,
        );
        let days = serde_json::to_string(&plan().days).unwrap();
        assert_reads_as(
            PlannerReply::Planned(Box::new(PlannerAnswer::dry_run(plan(), None))),
            &format!(
                r#"{{"execution_id":"mine","dry_run":true,"hours":2,"empty_hours":["2024-04-01T01"],"objects":{{"listed":9,"pruned":2,"planned":7}},"foreign_names":1,"bytes":700,"days":{days},"tasks_queued":0,"ledger":null,"output":null}}"#
            ),
        );
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
