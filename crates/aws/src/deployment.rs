//! A deployed stack, as the command line sees it.

use aws_config::SdkConfig;
use aws_sdk_lambda::primitives::Blob;
use serde_json::Value;

use crate::failure::described;

/// The outputs and functions of one stack.
#[derive(Debug, Clone)]
pub struct Deployment {
    stack: String,
    cloudformation: aws_sdk_cloudformation::Client,
    lambda: aws_sdk_lambda::Client,
}

/// A stack could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeploymentError {
    /// The request failed.
    #[error("could not describe the stack `{stack}`: {problem}")]
    Unreachable {
        /// The stack.
        stack: String,
        /// Why.
        problem: String,
    },
    /// It is none of this software's, or an older one.
    #[error("the stack `{stack}` has no output `{output}`")]
    NoOutput {
        /// The stack.
        stack: String,
        /// The output.
        output: String,
    },
}

/// A function did not return.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvocationError {
    /// The request failed; whether the function ran is not known.
    #[error("could not invoke `{function}`: {problem}")]
    Unreachable {
        /// The function.
        function: String,
        /// Why.
        problem: String,
    },
    /// The function ran and ended with an error.
    #[error("{message}")]
    Function {
        /// Which error.
        kind: String,
        /// The function's own words.
        message: String,
    },
}

impl Deployment {
    /// The stack with this name in the session's account and region.
    pub fn new(config: &SdkConfig, stack: impl Into<String>) -> Self {
        Self {
            stack: stack.into(),
            cloudformation: aws_sdk_cloudformation::Client::new(config),
            lambda: aws_sdk_lambda::Client::new(config),
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
            .map_err(|error| DeploymentError::Unreachable {
                stack: self.stack.clone(),
                problem: described(&error),
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

    /// Invokes a function and waits for what it returns.
    ///
    /// # Errors
    ///
    /// See [`InvocationError`].
    pub async fn invoke(&self, function: &str, payload: &Value) -> Result<Value, InvocationError> {
        let unreachable = |problem: String| InvocationError::Unreachable {
            function: function.to_owned(),
            problem,
        };
        let answer = self
            .lambda
            .invoke()
            .function_name(function)
            .payload(Blob::new(payload.to_string()))
            .send()
            .await
            .map_err(|error| unreachable(described(&error)))?;
        let bytes = answer.payload.map(Blob::into_inner).unwrap_or_default();
        let value: Value =
            serde_json::from_slice(&bytes).map_err(|error| unreachable(error.to_string()))?;
        if answer.function_error.is_some() {
            let message = value["errorMessage"].as_str().unwrap_or("it died");
            return Err(InvocationError::Function {
                kind: value["errorType"].as_str().unwrap_or_default().to_owned(),
                message: message.to_owned(),
            });
        }
        Ok(value)
    }
}
