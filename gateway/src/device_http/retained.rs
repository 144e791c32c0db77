//! Retained messages, as far as whoever asks may read them.

use protocol::mqtt::codec;
use protocol::{Publication, TopicFilter, TopicName, Wall};
use shadow::{Page, RetainedEntry, list_retained, retained_message};

use super::answer::{Answer, CallRefusal, document};
use super::requests::Asked;

/// Topics that are looked at with the table locked.
const LOOKS: usize = 256;
/// Topics that are looked at for one page; it may end before it is full.
const LOOKS_PER_PAGE: usize = 16_384;

/// One of them.
pub(super) fn get(asked: &Asked<'_>, topic: &TopicName) -> Result<Answer, CallRefusal> {
    let topic = topic.as_str();
    asked.may_read("get_retained", topic)?;
    let filter = TopicFilter::new(topic).map_err(|_| CallRefusal::invalid("topic is not valid"))?;
    let mut found = None;
    asked.tables().retained().for_matches(&filter, None, asked.now.wall, |message| {
        found = message.cloned();
        false
    });
    let message = found.ok_or_else(|| CallRefusal::missing("there is no retained message"))?;
    let user = codec::user_properties(message.properties());
    Ok(document(retained_message(entry(&message), message.payload(), &user)))
}

/// A page of their topics.
pub(super) async fn list(asked: &Asked<'_>, page: Page) -> Result<Answer, CallRefusal> {
    let rights = asked.caller.rights(asked.rules());
    let may = |topic: &str| rights.as_ref().is_none_or(|it| it.subscribe(topic).is_ok());
    let every = TopicFilter::new("#").map_err(|_| CallRefusal::internal("no filter"))?;
    let mut found: Vec<Publication> = Vec::new();
    let mut after = page.after.map(std::sync::Arc::from);
    let mut looked = 0;
    loop {
        let (mut seen, begun) = (Vec::new(), looked);
        // Rights are asked once the table is free again.
        let next = asked.tables().retained().for_matches(
            &every,
            after.as_deref(),
            asked.now.wall,
            |message| {
                looked += 1;
                seen.extend(message.cloned());
                looked - begun < LOOKS && seen.len() < page.size - found.len()
            },
        );
        found.extend(seen.into_iter().filter(|message| may(message.topic())));
        after = next;
        if after.is_none() || found.len() >= page.size || looked >= LOOKS_PER_PAGE {
            break;
        }
        tokio::task::yield_now().await;
    }
    let entries: Vec<_> = found.iter().map(entry).collect();
    Ok(document(list_retained(&entries, after.as_deref())))
}

/// When it was stored is not known.
fn entry(message: &Publication) -> RetainedEntry<'_> {
    RetainedEntry {
        topic: message.topic(),
        payload_bytes: message.payload().len(),
        qos: message.qos,
        modified_at: Wall(0),
    }
}
