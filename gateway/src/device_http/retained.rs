//! Retained messages, as far as whoever asks may read them.

use protocol::mqtt::codec;
use protocol::{Publication, TopicFilter, TopicName, Wall};
use shadow::{Page, RetainedEntry, list_retained, retained_message};

use super::answer::{Answer, CallRefusal, document};
use super::requests::Asked;
use crate::hub::Tables;

/// Topics that are looked at with the table locked.
const LOOKS: usize = 256;
/// Topics that are looked at for one page that is not empty; it may end before it is full.
const LOOKS_PER_PAGE: usize = 16_384;

/// One of them.
pub(super) fn get(asked: &Asked<'_>, topic: &TopicName) -> Result<Answer, CallRefusal> {
    let topic = topic.as_str();
    asked.may_read("get_retained", topic)?;
    let filter = TopicFilter::new(topic).map_err(|_| CallRefusal::invalid("topic is not valid"))?;
    let mut found = None;
    let all = asked.tables().retained();
    all.for_matches(&filter, None, asked.now.wall, |message| {
        found = message.map(|message| (message.clone(), all.since(topic)));
        false
    });
    drop(all);
    let message = found.ok_or_else(|| CallRefusal::missing("there is no retained message"))?;
    let user = codec::user_properties(message.0.properties());
    Ok(document(retained_message(entry(&message), message.0.payload(), &user)))
}

/// A page of their topics.
pub(super) async fn list(asked: &Asked<'_>, page: Page) -> Result<Answer, CallRefusal> {
    let rights = asked.caller.rights(asked.rules());
    let may = |topic: &str| rights.as_ref().is_none_or(|it| it.subscribe(topic).is_ok());
    let every = TopicFilter::new("#").map_err(|_| CallRefusal::internal("no filter"))?;
    let (found, has_more) = look(asked.tables(), (&every, asked.now.wall), page, may).await;
    let entries: Vec<_> = found.iter().map(entry).collect();
    let last = found.last().filter(|_| has_more);
    Ok(document(list_retained(&entries, last.map(|(message, _)| message.topic()))))
}

/// Those behind a topic that may be read, and whether there may be more. What goes on from here is known by the last of them, so
/// that no other topic is told; so there is at least one of them if there may be more.
async fn look(
    tables: &Tables,
    (every, now): (&TopicFilter, Wall),
    page: Page,
    may: impl Fn(&str) -> bool,
) -> (Vec<(Publication, Wall)>, bool) {
    let mut found: Vec<(Publication, Wall)> = Vec::new();
    let mut after = page.after.map(std::sync::Arc::from);
    let mut looked = 0;
    loop {
        let (mut seen, begun) = (Vec::new(), looked);
        // Rights are asked once the table is free again.
        let next = {
            let all = tables.retained();
            all.for_matches(every, after.as_deref(), now, |message| {
                looked += 1;
                seen.extend(message.map(|message| (message.clone(), all.since(message.topic()))));
                looked - begun < LOOKS && seen.len() < page.size - found.len()
            })
        };
        found.extend(seen.into_iter().filter(|(message, _)| may(message.topic())));
        after = next;
        let is_late = looked >= LOOKS_PER_PAGE && !found.is_empty();
        if after.is_none() || found.len() >= page.size || is_late {
            return (found, after.is_some());
        }
        tokio::task::yield_now().await;
    }
}

fn entry((message, since): &(Publication, Wall)) -> RetainedEntry<'_> {
    RetainedEntry {
        topic: message.topic(),
        payload_bytes: message.payload().len(),
        qos: message.qos,
        modified_at: *since,
    }
}

#[cfg(test)]
mod tests {
    use protocol::QoS;

    use super::*;

    fn look_at(topics: &[String], page: Page) -> (Vec<String>, bool) {
        let tables = Tables::default();
        for topic in topics {
            let message = Publication::new(topic, &[], b"x", QoS::AtLeastOnce, true);
            tables.change_retained(|all| all.set(topic, Some((message, Wall(1)))));
        }
        let every = TopicFilter::new("#").unwrap();
        let may = |topic: &str| topic.starts_with("mine/");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (found, has_more) = runtime.block_on(look(&tables, (&every, Wall(1)), page, may));
        (found.iter().map(|(it, _)| it.topic().to_owned()).collect(), has_more)
    }

    #[test]
    fn where_to_go_on_is_a_topic_that_may_be_read() {
        let secret = (0..LOOKS_PER_PAGE + 10).map(|number| format!("a/secret/{number:06}"));
        let mut topics: Vec<_> = secret.collect();
        let page = |after: Option<&str>, size| Page { after: after.map(Into::into), size };
        assert_eq!(look_at(&topics, page(None, 2)), (vec![], false));
        topics.extend(["mine/1".into(), "mine/2".into(), "mine/3".into()]);
        let two = vec!["mine/1".to_owned(), "mine/2".to_owned()];
        assert_eq!(
            look_at(&topics, page(None, 2)),
            (two, true),
            "behind what is nobody's business"
        );
        let last = vec!["mine/3".to_owned()];
        assert_eq!(look_at(&topics, page(Some("mine/2"), 2)), (last, false));
        topics.extend((0..=LOOKS_PER_PAGE).map(|number| format!("z/secret/{number:06}")));
        let one = vec!["mine/3".to_owned()];
        assert_eq!(look_at(&topics, page(Some("mine/2"), 2)), (one, true));
        assert_eq!(look_at(&topics, page(Some("mine/3"), 2)), (vec![], false));
    }
}
