//! One question to several gateways at once: who does not answer takes nobody else's answer away.

use serde_json::{Value, json};

use super::api::{Api, ApiError};
use super::exit::{Exit, Failure};
use super::reach::Reached;

/// What each gateway said, in the order in which they were named.
#[derive(Debug)]
pub(super) struct Answers<T>(pub(super) Vec<(String, Result<T, ApiError>)>);

/// Asks all of them at the same time, so that those that stand still take their time together.
pub(super) async fn each<T, F>(gateways: Vec<Reached>, ask: impl Fn(Api) -> F) -> Answers<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T, ApiError>> + Send + 'static,
{
    let asked: Vec<_> = gateways
        .into_iter()
        .map(|(id, api)| (id, api.url().to_owned(), tokio::spawn(ask(api))))
        .collect();
    let mut answers = Vec::new();
    for (id, url, answer) in asked {
        let lost = |error: tokio::task::JoinError| {
            Err(ApiError::Unreachable { url, what: error.to_string() })
        };
        answers.push((id, answer.await.unwrap_or_else(lost)));
    }
    Answers(answers)
}

impl<T> Answers<T> {
    /// Who did not answer, and why, for programs.
    pub(super) fn silent(&self) -> Value {
        let silent =
            self.silence().map(|(id, error)| json!({"gateway": id, "what": error.to_string()}));
        Value::Array(silent.collect())
    }

    /// What is left to say when all that was answered is printed; nothing if everybody answered.
    ///
    /// # Errors
    /// In one line who did not answer, and why.
    pub(super) fn ended(&self) -> Result<(), Failure> {
        let mut exit = None;
        let mut lines = Vec::new();
        for (id, error) in self.silence() {
            let failure = Failure::new(Exit::of(error), error);
            // Who was named by an address is in the message already.
            let named = id.contains("://");
            lines.push(if named { failure.message } else { format!("{id}: {}", failure.message) });
            exit = exit.or(Some(failure.exit));
        }
        exit.map_or(Ok(()), |exit| Err(Failure { exit, message: lines.join("; ") }))
    }

    /// Whether anybody answered.
    pub(super) fn is_answered(&self) -> bool {
        self.0.iter().any(|(_, answer)| answer.is_ok())
    }

    fn silence(&self) -> impl Iterator<Item = (&String, &ApiError)> {
        self.0.iter().filter_map(|(id, answer)| Some((id, answer.as_ref().err()?)))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A gateway's API that gives every question the same answer, and counts them.
    pub(in crate::cli) fn answers(name: &str, body: &str) -> (Reached, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let reached = at(name, &listener);
        let (asked, count) = (Arc::new(AtomicUsize::new(0)), body.len());
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {count}\r\n\r\n{body}");
        let counted = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 4096]).unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        (reached, asked)
    }

    /// A gateway that is not there: nobody listens at its address any more.
    pub(in crate::cli) fn gone(name: &str) -> Reached {
        at(name, &TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn at(name: &str, listener: &TcpListener) -> Reached {
        let url = format!("http://{}", listener.local_addr().unwrap());
        (name.to_owned(), Api::new(&url, Path::new("")).unwrap())
    }

    #[tokio::test]
    async fn who_is_gone_takes_nobody_elses_answer_away() {
        let (there, _) = answers("gw-2", "7");
        let said =
            each(vec![gone("gw-1"), there], async |api: Api| api.get::<u32>("/").await).await;
        assert!(said.is_answered());
        assert_eq!(*said.0[1].1.as_ref().unwrap(), 7);
        let failure = said.ended().unwrap_err();
        assert_eq!(failure.exit, Exit::Failed);
        assert!(failure.message.starts_with("gw-1: cannot reach http://"), "{failure:?}");
        assert_eq!(said.silent()[0]["gateway"], "gw-1");
    }

    #[tokio::test]
    async fn where_all_answer_there_is_nothing_left_to_say() {
        let (there, _) = answers("gw-1", "7");
        let said = each(vec![there], async |api: Api| api.get::<u32>("/").await).await;
        assert_eq!(said.ended(), Ok(()));
        assert_eq!(said.silent(), json!([]));
    }
}
