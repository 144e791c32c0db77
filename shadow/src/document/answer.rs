//! What is said about a document, each message as its readers know it.

use protocol::Wall;

use super::delta::Delta;
use super::section::{Section, View, put_stamps};
use super::update::seconds;
use super::{ClientToken, Deleted, Document, Record, Refusal, Rejection, Updated};
use crate::json::{Json, ObjectWriter, put_json};
use crate::topic::ShadowKey;

/// The answer to a `get`: the document, with what is desired and not reported.
///
/// # Errors
/// [`Rejection`] if there is no such shadow.
pub fn get(
    stored: Option<&Record>,
    key: ShadowKey<'_>,
    token: Option<&ClientToken>,
    now: Wall,
) -> Result<String, Rejection> {
    let document = stored.and_then(Record::document).ok_or_else(|| no_shadow(key, token))?;
    let delta = document.delta();
    let mut out = String::new();
    let mut body = ObjectWriter::begin(&mut out);
    for view in [View::State, View::Metadata] {
        let mut sections = ObjectWriter::begin(body.member(view.name()));
        document.put_sections(&mut sections, view);
        if !delta.is_empty() {
            delta.put(sections.member("delta"), view);
        }
        sections.end();
    }
    body.number("version", document.version);
    put_end(body, seconds(now), token);
    Ok(out)
}

/// Takes a shadow away; its version stays known for a while.
///
/// # Errors
/// [`Rejection`] if there is no such shadow.
pub fn delete(
    stored: Option<&Record>,
    key: ShadowKey<'_>,
    token: Option<ClientToken>,
    now: Wall,
) -> Result<Deleted, Rejection> {
    match stored.and_then(Record::document) {
        Some(document) => Ok(Deleted { version: document.version, at_s: seconds(now), token }),
        None => Err(no_shadow(key, token.as_ref())),
    }
}

fn no_shadow(key: ShadowKey<'_>, token: Option<&ClientToken>) -> Rejection {
    let name = key.shadow.map_or(key.thing.as_str(), |name| name.as_str());
    Rejection { refusal: Refusal::NoShadow(name.into()), token: token.cloned() }
}

impl Updated<'_> {
    /// For `update/accepted`: what was asked, `null` included, with its metadata.
    pub fn accepted(&self) -> String {
        let mut out = String::new();
        let mut body = ObjectWriter::begin(&mut out);
        put_json(body.member("state"), &self.request.state);
        let metadata = body.member("metadata");
        match &self.request.state {
            Json::Null => metadata.push_str("{}"),
            state @ (Json::Object(_)
            | Json::Bool(_)
            | Json::Number(_)
            | Json::Text(_)
            | Json::Array(_)) => put_stamps(metadata, state, self.current.changed_at_s),
        }
        body.number("version", self.current.version);
        put_end(body, self.current.changed_at_s, self.request.token.as_ref());
        out
    }

    /// For `update/delta`: all that is desired and not reported; nothing while there is nothing.
    pub fn delta(&self) -> Option<String> {
        self.current.delta_message(self.current.changed_at_s, self.request.token.as_ref())
    }

    /// For `update/documents`: the document before and after.
    pub fn documents(&self) -> String {
        let token = self.request.token.as_ref();
        self.current.documents_message(self.previous, self.current.changed_at_s, token)
    }
}

impl Deleted {
    /// For `delete/accepted`: the version that the document had.
    pub fn accepted(&self) -> String {
        let mut out = String::new();
        let mut body = ObjectWriter::begin(&mut out);
        body.number("version", self.version);
        put_end(body, self.at_s, self.token.as_ref());
        out
    }
}

impl Document {
    /// For `update/delta` where the update itself was not seen, only what came of it.
    pub fn delta_now(&self, now: Wall) -> Option<String> {
        self.delta_message(seconds(now), None)
    }

    /// For `update/documents` where only the documents were seen, and maybe not every one between them.
    pub fn documents_now(&self, previous: Option<&Self>, now: Wall) -> String {
        self.documents_message(previous, seconds(now), None)
    }

    pub(super) fn delta(&self) -> Delta<'_> {
        Delta::between(&self.desired, Some(&self.reported))
    }

    fn delta_message(&self, at_s: u64, token: Option<&ClientToken>) -> Option<String> {
        let delta = self.delta();
        if delta.is_empty() {
            return None;
        }
        let mut out = String::new();
        let mut body = ObjectWriter::begin(&mut out);
        body.number("version", self.version);
        body.number("timestamp", at_s);
        for view in [View::State, View::Metadata] {
            delta.put(body.member(view.name()), view);
        }
        put_token(&mut body, token);
        body.end();
        Some(out)
    }

    fn documents_message(
        &self,
        previous: Option<&Self>,
        at_s: u64,
        token: Option<&ClientToken>,
    ) -> String {
        let mut out = String::new();
        let mut body = ObjectWriter::begin(&mut out);
        match previous {
            Some(previous) => previous.put(body.member("previous")),
            None => body.member("previous").push_str("{}"),
        }
        self.put(body.member("current"));
        put_end(body, at_s, token);
        out
    }

    fn put(&self, out: &mut String) {
        let mut body = ObjectWriter::begin(out);
        for view in [View::State, View::Metadata] {
            let mut sections = ObjectWriter::begin(body.member(view.name()));
            self.put_sections(&mut sections, view);
            sections.end();
        }
        body.number("version", self.version);
        body.end();
    }

    fn put_sections(&self, sections: &mut ObjectWriter<'_>, view: View) {
        for (name, section) in [("desired", &self.desired), ("reported", &self.reported)] {
            if !section.is_empty() {
                section.put(sections.member(name), view);
            }
        }
    }
}

impl Section {
    /// Its bytes as compact JSON; one that is empty is not there and has none.
    pub(super) fn state_bytes(&self) -> usize {
        if self.is_empty() {
            return 0;
        }
        let mut compact = String::new();
        self.put(&mut compact, View::State);
        compact.len()
    }
}

impl View {
    const fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Metadata => "metadata",
        }
    }
}

/// The token goes back as it came, if one came.
pub(super) fn put_token(body: &mut ObjectWriter<'_>, token: Option<&ClientToken>) {
    if let Some(token) = token {
        body.text("clientToken", token.as_str());
    }
}

fn put_end(mut body: ObjectWriter<'_>, at_s: u64, token: Option<&ClientToken>) {
    body.number("timestamp", at_s);
    put_token(&mut body, token);
    body.end();
}
