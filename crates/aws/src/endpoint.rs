//! Adds to errors of the SDK the host that did not answer, which they do not name. Logs the SDK's own
//! retries, which are visible nowhere else.

use std::error::Error;

use aws_config::Region;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextMut,
};
use aws_smithy_runtime_api::client::orchestrator::OrchestratorError;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::retries::RequestAttempts;
use aws_smithy_types::config_bag::{Storable, StoreReplace};

/// Puts an [`Unreached`] into the chain of causes of a request that got no answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NameEndpoint;

/// A request got no answer.
#[derive(Debug, thiserror::Error)]
#[error("no answer from `{}`", endpoint.host)]
pub(crate) struct Unreached {
    /// Where it was sent.
    pub(crate) endpoint: Endpoint,
    source: Box<dyn Error + Send + Sync>,
}

/// Where a request is sent.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// With its port, where that is not the scheme's.
    pub(crate) host: String,
    /// The region that the client was made for.
    pub(crate) region: Option<String>,
}

impl Storable for Endpoint {
    type Storer = StoreReplace<Self>;
}

impl Intercept for NameEndpoint {
    fn name(&self) -> &'static str {
        "NameEndpoint"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let endpoint = Endpoint {
            host: host(context.request().uri()).to_owned(),
            region: config.load::<Region>().map(ToString::to_string),
        };
        if let Some(attempts) = config.load::<RequestAttempts>()
            && attempts.attempts() > 1
        {
            let (attempt, path) = (attempts.attempts(), path(context.request().uri()));
            tracing::debug!(
                host = endpoint.host,
                path,
                attempt,
                "sending a request again"
            );
        }
        config.interceptor_state().store_put(endpoint);
        Ok(())
    }

    fn modify_before_completion(
        &self,
        context: &mut FinalizerInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // Without an endpoint it was something before the request, such as the credentials.
        let (Some(Err(error)), Some(endpoint)) =
            (context.output_or_error_mut(), config.load::<Endpoint>())
        else {
            return Ok(());
        };
        let is_timeout = error.is_timeout_error();
        if !is_timeout && !error.is_connector_error() {
            return Ok(());
        }
        let taken = OrchestratorError::other("put back below");
        let unreached = Box::new(Unreached {
            endpoint: endpoint.clone(),
            source: Box::new(std::mem::replace(error, taken)),
        });
        *error = if is_timeout {
            OrchestratorError::timeout(unreached)
        } else {
            OrchestratorError::connector(ConnectorError::other(unreached, None))
        };
        Ok(())
    }
}

/// The part of a URI between its scheme and its path.
fn host(uri: &str) -> &str {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or(rest)
}

/// The path of a URI, which for S3 holds the key. The query may hold a signature.
fn path(uri: &str) -> &str {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let rest = rest.split('?').next().unwrap_or(rest);
    rest.find('/').map_or("", |slash| &rest[slash..])
}

#[cfg(test)]
mod tests {
    use super::{host, path};

    #[test]
    fn host_and_path_are_told_without_the_query() {
        let rows = [
            (
                "https://b.s3.amazonaws.com/a/b?X-Sig=1",
                "b.s3.amazonaws.com",
                "/a/b",
            ),
            ("http://127.0.0.1:9000", "127.0.0.1:9000", ""),
            (
                "https://sqs.amazonaws.com?Action=x/y",
                "sqs.amazonaws.com",
                "",
            ),
        ];
        for (uri, expected_host, expected_path) in rows {
            assert_eq!(
                (host(uri), path(uri)),
                (expected_host, expected_path),
                "{uri}"
            );
        }
    }
}
