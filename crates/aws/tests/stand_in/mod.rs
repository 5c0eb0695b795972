//! A stand-in for the endpoints of AWS: a server on loopback that answers as a test says, or never,
//! and remembers what it was asked.

#![allow(
    dead_code,
    reason = "shared by several test programs, each of which uses a part"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    /// Lambda's `Event` or `RequestResponse`.
    pub(crate) invocation_type: Option<String>,
    /// In lower case, with their values.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    /// The value of a header, whose name is in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// What the client gets.
pub(crate) enum Reply {
    /// A status and a body.
    Answer(u16, String),
    /// Nothing: the connection stays open until the client gives up.
    Never,
}

/// The server; its threads end with the process.
pub(crate) struct StandIn {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl StandIn {
    pub(crate) fn new(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (known, answer) = (Arc::clone(&requests), Arc::new(answer));
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let (known, answer) = (Arc::clone(&known), Arc::clone(&answer));
                std::thread::spawn(move || serve(connection.unwrap(), &known, &*answer));
            }
        });
        Self { url, requests }
    }

    /// What it was asked so far whose path contains the text.
    pub(crate) fn requests(&self, path_part: &str) -> Vec<Request> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let found = requests
            .iter()
            .filter(|request| request.path.contains(path_part));
        found.cloned().collect()
    }
}

/// One request for each connection.
fn serve(connection: TcpStream, known: &Mutex<Vec<Request>>, answer: &dyn Fn(&Request) -> Reply) {
    let mut reader = BufReader::new(&connection);
    let Some(request) = read(&mut reader) else {
        return; // The client went away.
    };
    let requests = known.lock();
    requests
        .unwrap_or_else(PoisonError::into_inner)
        .push(request.clone());
    match answer(&request) {
        Reply::Answer(status, body) => {
            let head = format!(
                "HTTP/1.1 {status} Status\r\nConnection: close\r\nETag: \"{:x}\"\r\nContent-Length: {}\r\n",
                body.len(),
                body.len()
            );
            // As Lambda tells an error of the function from its answer.
            let error = match body.contains("\"errorMessage\"") {
                true => "X-Amz-Function-Error: Unhandled\r\n",
                false => "",
            };
            let mut connection = &connection;
            // A client that gave up does not read it.
            let _ = write!(connection, "{head}{error}\r\n{body}");
        }
        Reply::Never => {
            let _ = reader.read(&mut [0]);
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let method = words.next()?.to_owned();
    let path = words.next()?.to_owned();
    let (mut length, mut invocation_type, mut headers) = (0, None, Vec::new());
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "x-amz-invocation-type" => invocation_type = Some(value.to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request {
        method,
        path,
        invocation_type,
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}
