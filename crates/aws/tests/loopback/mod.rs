//! A server on this machine that gives every request the same answer.

#![allow(
    dead_code,
    reason = "shared by several test programs, each of which uses a part"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use event_recovery_aws::{SdkConfig, SessionSettings, session};

/// More connections than any test needs: a client that does not stop asking is refused.
const CONNECTIONS_MAX: usize = 50;
/// A request that does not come to its end is given up.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Ends with the test.
pub(crate) struct Server {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Answers with these bytes, or never if there are none.
    pub(crate) fn answering(answer: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, is_over) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (counted, over) = (Arc::clone(&requests), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || {
            let mut unanswered = Vec::new();
            for connection in listener.incoming().take(CONNECTIONS_MAX) {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                // A client that closed the connection is no fault of the server.
                let Ok(mut connection) = connection else {
                    continue;
                };
                if read_head(&mut connection).is_err() {
                    continue;
                }
                counted.fetch_add(1, Ordering::SeqCst);
                match answer.is_empty() {
                    true => unanswered.push(connection),
                    false => drop(connection.write_all(&answer)),
                }
            }
        });
        Self {
            address,
            requests,
            is_over,
            thread: Some(thread),
        }
    }

    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Wakes the thread, which then sees the flag.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Reads up to the end of the request's head. The requests of these tests have no bodies.
fn read_head(connection: &mut TcpStream) -> std::io::Result<()> {
    connection.set_read_timeout(Some(READ_TIMEOUT))?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        connection.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(())
}

/// A session in `eu-nowhere-1` for requests to that host, each of which is sent once.
pub(crate) async fn session_at(host: &str, attempt_timeout: Duration) -> SdkConfig {
    let settings = SessionSettings {
        profile: None,
        region: Some("eu-nowhere-1".to_owned()),
        endpoint_url: Some(format!("http://{host}")),
    };
    let credentials = Credentials::new("test", "test", None, None, "test");
    let timeout = TimeoutConfig::builder().operation_attempt_timeout(attempt_timeout);
    let config = session(&settings).await.into_builder();
    config
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeout.build())
        .build()
}
