//! A deployed stack, as the command line sees it.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_lambda::config::StalledStreamProtectionConfig;
use aws_sdk_lambda::config::retry::RetryConfig;
use aws_sdk_lambda::config::timeout::TimeoutConfig;
use aws_sdk_lambda::operation::invoke::InvokeOutput;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::InvocationType;
use event_recovery_pipeline::{Circumstances, PlannerError, PlannerErrorKind, RequestId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::endpoint::NameEndpoint;
use crate::failure::{Described, described, may_have_arrived};

/// How long a function may take to answer: Lambda's longest run, and a minute to start it. Without
/// it, a connection that broke without a packet would be waited on for ever.
const ANSWER_SECS_MAX: Duration = Duration::from_secs(16 * 60);
/// How long the endpoint may take to accept a connection.
const CONNECT_SECS_MAX: Duration = Duration::from_secs(10);

/// The outputs and functions of one stack.
#[derive(Debug, Clone)]
pub struct Deployment {
    stack: String,
    cloudformation: aws_sdk_cloudformation::Client,
    /// Sends a request again when no answer comes.
    asking: aws_sdk_lambda::Client,
    /// Sends a request once, since each one that arrives starts something.
    handing_over: aws_sdk_lambda::Client,
    /// Sends a request once too, and waits for the answer as long as a function may run.
    waiting: aws_sdk_lambda::Client,
}

/// A stack could not be queried.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DeploymentError {
    /// The request failed.
    #[error("could not describe the stack `{stack}`: {problem}")]
    Unreachable {
        /// The stack.
        stack: String,
        /// Why.
        problem: String,
        /// The hint, the request and the cause.
        circumstances: Circumstances,
    },
    /// It is not a stack of this software, or one of an older version.
    #[error("the stack `{stack}` has no output `{output}`")]
    NoOutput {
        /// The stack.
        stack: String,
        /// The output.
        output: String,
    },
}

/// A function was not invoked, or did not return.
#[derive(Debug, Clone, thiserror::Error)]
pub enum InvocationError {
    /// There was no answer; the function may have run, or may still be running.
    #[error("no answer from `{function}`: {problem}")]
    Unanswered {
        /// The function.
        function: String,
        /// Why.
        problem: String,
        /// The hint, the request and the cause.
        circumstances: Circumstances,
    },
    /// The request was turned down; the function did not run.
    #[error("could not invoke `{function}`: {problem}")]
    TurnedDown {
        /// The function.
        function: String,
        /// Why.
        problem: String,
        /// The hint, the request and the cause.
        circumstances: Circumstances,
    },
    /// The function ran and ended with an error.
    #[error("{message}")]
    Function {
        /// Which error.
        kind: PlannerErrorKind,
        /// The function's message.
        message: String,
    },
    /// The function answered something else than it should.
    #[error("the answer of `{function}` is not what it should be: {problem}")]
    Unreadable {
        /// The function.
        function: String,
        /// What is wrong.
        problem: String,
    },
}

impl DeploymentError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        self.circumstances()?.hint()
    }

    /// The id of the request that failed, if it was answered.
    pub fn request_id(&self) -> Option<&RequestId> {
        self.circumstances()?.request_id()
    }

    fn circumstances(&self) -> Option<&Circumstances> {
        match self {
            Self::Unreachable { circumstances, .. } => Some(circumstances),
            Self::NoOutput { .. } => None,
        }
    }
}

impl InvocationError {
    /// What to do about it. An error of the function has its hint in its message.
    pub fn hint(&self) -> Option<String> {
        self.circumstances()?.hint()
    }

    /// The id of the request that failed, if it was answered.
    pub fn request_id(&self) -> Option<&RequestId> {
        self.circumstances()?.request_id()
    }

    fn circumstances(&self) -> Option<&Circumstances> {
        match self {
            Self::Unanswered { circumstances, .. } | Self::TurnedDown { circumstances, .. } => {
                Some(circumstances)
            }
            Self::Function { .. } | Self::Unreadable { .. } => None,
        }
    }
}

impl Deployment {
    /// The stack with this name in the session's account and region.
    pub fn new(config: &SdkConfig, stack: impl Into<String>) -> Self {
        let cloudformation = aws_sdk_cloudformation::config::Builder::from(config)
            .interceptor(NameEndpoint)
            .build();
        Self {
            stack: stack.into(),
            cloudformation: aws_sdk_cloudformation::Client::from_conf(cloudformation),
            asking: aws_sdk_lambda::Client::from_conf(lambda(config).build()),
            handing_over: aws_sdk_lambda::Client::from_conf(once(config).build()),
            waiting: waiting(config),
        }
    }

    /// The values of the stack's outputs with these names.
    ///
    /// # Errors
    ///
    /// See [`DeploymentError`].
    pub async fn outputs<const N: usize>(
        &self,
        names: [&str; N],
    ) -> Result<[String; N], DeploymentError> {
        let described = self
            .cloudformation
            .describe_stacks()
            .stack_name(&self.stack)
            .send()
            .await
            .map_err(|error| {
                let described = described(error);
                DeploymentError::Unreachable {
                    stack: self.stack.clone(),
                    problem: described.problem,
                    circumstances: described.circumstances,
                }
            })?;
        let stack = described.stacks.unwrap_or_default().into_iter().next();
        let outputs = stack.and_then(|stack| stack.outputs).unwrap_or_default();
        let mut values = [const { String::new() }; N];
        for (value, name) in values.iter_mut().zip(names) {
            let found = outputs
                .iter()
                .find(|output| output.output_key.as_deref() == Some(name));
            *value = found
                .and_then(|output| output.output_value.clone())
                .ok_or_else(|| DeploymentError::NoOutput {
                    stack: self.stack.clone(),
                    output: name.to_owned(),
                })?;
        }
        Ok(values)
    }

    /// How many invocations the account may have at the same time in this region.
    ///
    /// # Errors
    ///
    /// Lambda's.
    pub async fn concurrency(&self) -> Result<u64, DeploymentError> {
        let settings = self.asking.get_account_settings().send().await;
        let settings = settings.map_err(|error| {
            let described = described(error);
            DeploymentError::Unreachable {
                stack: self.stack.clone(),
                problem: described.problem,
                circumstances: described.circumstances,
            }
        })?;
        let limit = settings
            .account_limit()
            .map(|limit| limit.concurrent_executions());
        Ok(limit
            .and_then(|limit| u64::try_from(limit).ok())
            .unwrap_or(0))
    }

    /// Invokes a function with retries: if no answer comes in time, the request is sent again. For quick
    /// requests without side effects.
    ///
    /// # Errors
    ///
    /// See [`InvocationError`].
    pub async fn ask<A: DeserializeOwned>(
        &self,
        function: &str,
        payload: &impl Serialize,
    ) -> Result<A, InvocationError> {
        let called = self.call(
            &self.asking,
            function,
            payload,
            InvocationType::RequestResponse,
        );
        answer(function, called.await?)
    }

    /// Invokes a function once and waits for its answer, however long it takes.
    ///
    /// # Errors
    ///
    /// See [`InvocationError`].
    pub async fn invoke_once<A: DeserializeOwned>(
        &self,
        function: &str,
        payload: &impl Serialize,
    ) -> Result<A, InvocationError> {
        let kind = InvocationType::RequestResponse;
        let called = self.call(&self.waiting, function, payload, kind);
        answer(function, called.await?)
    }

    /// Invokes a function asynchronously, once, and waits only until Lambda has accepted the event.
    ///
    /// # Errors
    ///
    /// [`InvocationError::Unanswered`], when Lambda may have taken it all the same, and
    /// [`InvocationError::TurnedDown`].
    pub async fn hand_over(
        &self,
        function: &str,
        payload: &impl Serialize,
    ) -> Result<(), InvocationError> {
        let called = self.call(&self.handing_over, function, payload, InvocationType::Event);
        called.await.map(drop)
    }

    async fn call(
        &self,
        lambda: &aws_sdk_lambda::Client,
        function: &str,
        payload: &impl Serialize,
        kind: InvocationType,
    ) -> Result<InvokeOutput, InvocationError> {
        let payload = serde_json::to_vec(payload).map_err(|error| InvocationError::TurnedDown {
            function: function.to_owned(),
            problem: error.to_string(),
            circumstances: Circumstances::default(),
        })?;
        let request = lambda
            .invoke()
            .function_name(function)
            .invocation_type(kind)
            .payload(Blob::new(payload));
        request.send().await.map_err(|error| {
            let (function, may_have_arrived) = (function.to_owned(), may_have_arrived(&error));
            let Described {
                problem,
                is_transient: _,
                circumstances,
            } = described(error);
            match may_have_arrived {
                true => InvocationError::Unanswered {
                    function,
                    problem,
                    circumstances,
                },
                false => InvocationError::TurnedDown {
                    function,
                    problem,
                    circumstances,
                },
            }
        })
    }
}

fn lambda(config: &SdkConfig) -> aws_sdk_lambda::config::Builder {
    aws_sdk_lambda::config::Builder::from(config).interceptor(NameEndpoint)
}

fn once(config: &SdkConfig) -> aws_sdk_lambda::config::Builder {
    lambda(config).retry_config(RetryConfig::disabled())
}

fn waiting(config: &SdkConfig) -> aws_sdk_lambda::Client {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_SECS_MAX)
        .read_timeout(ANSWER_SECS_MAX)
        .disable_operation_attempt_timeout()
        .disable_operation_timeout();
    let settings = once(config)
        .timeout_config(timeouts.build())
        // A function sends nothing while it runs; that is not a stalled stream.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    aws_sdk_lambda::Client::from_conf(settings.build())
}

fn answer<A: DeserializeOwned>(function: &str, answer: InvokeOutput) -> Result<A, InvocationError> {
    let unreadable = |error: serde_json::Error| InvocationError::Unreadable {
        function: function.to_owned(),
        problem: error.to_string(),
    };
    let bytes = answer.payload.map(Blob::into_inner).unwrap_or_default();
    if answer.function_error.is_none() {
        return serde_json::from_slice(&bytes).map_err(unreadable);
    }
    let error: PlannerError = serde_json::from_slice(&bytes).map_err(unreadable)?;
    Err(InvocationError::Function {
        kind: error.error_type,
        message: error.error_message.unwrap_or_else(|| "it died".to_owned()),
    })
}
