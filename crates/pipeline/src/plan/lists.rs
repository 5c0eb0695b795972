//! Which task lists a run has.

use crate::ledger::Sealed;
use crate::ledger::late_plan::LatePlanRecord;
use crate::ledger::task_lists::TaskList;
use crate::request::resolved::ResolvedRequest;

/// The task lists of a run: one for each hour, and those that its late plans name.
pub(crate) fn run_lists(
    request: &ResolvedRequest,
    late_plans: &[Sealed<LatePlanRecord>],
) -> Vec<TaskList> {
    let first = request
        .window()
        .hours()
        .map(|hour| TaskList { hour, number: 0 });
    first.chain(late_lists(late_plans)).collect()
}

/// The task lists that the late plans name.
pub(crate) fn late_lists(
    late_plans: &[Sealed<LatePlanRecord>],
) -> impl Iterator<Item = TaskList> + use<'_> {
    late_plans.iter().flat_map(|plan| {
        let number = plan.value.number;
        let hours = plan.value.task_lists.keys();
        hours.map(move |hour| TaskList {
            hour: *hour,
            number,
        })
    })
}
