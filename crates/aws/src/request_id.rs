//! The ids of requests, by which AWS Support and CloudTrail find them.

use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::{RequestId as _, RequestIdExt as _};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use event_recovery_pipeline::RequestId;

/// The id of a request that failed, if it was answered.
pub(crate) fn of_error<E>(error: &SdkError<E, HttpResponse>) -> Option<RequestId> {
    request_id(error.request_id(), error.extended_request_id())
}

/// The id of a request to S3 that was answered.
pub(crate) fn of_answer(
    answer: &(impl aws_sdk_s3::operation::RequestId + aws_sdk_s3::operation::RequestIdExt),
) -> Option<RequestId> {
    request_id(answer.request_id(), answer.extended_request_id())
}

fn request_id(id: Option<&str>, extended_id: Option<&str>) -> Option<RequestId> {
    Some(RequestId {
        id: id?.to_owned(),
        extended_id: extended_id.map(str::to_owned),
    })
}
