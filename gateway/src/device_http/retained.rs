//! Retained messages, as far as whoever asks may read them.

use std::sync::{Arc, Mutex, PoisonError};

use access::Identity;
use protocol::mqtt::codec;
use protocol::{Now, Publication, TopicFilter, TopicName, Wall};
use shadow::{Page, RetainedEntry, list_retained, retained_message};

use super::answer::{Answer, CallRefusal, document};
use super::requests::Asked;
use super::searches::Searches;
use crate::hub::Tables;

/// Topics that are looked at with the table locked.
const LOOKS: usize = 256;
/// Topics that are looked at for one page that is not empty; it may end before it is full.
const LOOKS_PER_PAGE: usize = 16_384;
/// Topics that are looked at for one page in which nothing is found: a fraction of a second.
const LOOKS_FOR_NOTHING: usize = 65_536;
/// In a token, before the number of empty pages behind a topic.
const EMPTY: char = '#';

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
    let of = (asked.searches(), &*asked.caller.identity, asked.now);
    let (found, next) = search(of, asked.tables(), page, may).await?;
    let entries: Vec<_> = found.iter().map(entry).collect();
    Ok(document(list_retained(&entries, next.as_deref())))
}

/// A page, and the token for more, if there may be. The token is the last topic in the page, so that no other topic is told: of a
/// page with none it is that of the page before, and how many there were since, as no client goes on with the token that it
/// has used. Up to where they looked is remembered.
async fn search(
    (searches, who, now): (&Mutex<Searches>, &Identity, Now),
    tables: &Tables,
    page: Page,
    may: impl Fn(&str) -> bool,
) -> Result<(Vec<(Publication, Wall)>, Option<String>), CallRefusal> {
    let every = TopicFilter::new("#").map_err(|_| CallRefusal::internal("no filter"))?;
    let token = page.after.as_deref().unwrap_or_default();
    // No topic has that character.
    let (after, empty) = match token.split_once(EMPTY) {
        Some((after, empty)) => (after, Some(empty)),
        None => (token, None),
    };
    let searches = || searches.lock().unwrap_or_else(PoisonError::into_inner);
    // Who begins anew finds also what has come since another search gave up.
    let far = empty.and_then(|_| searches().far(who, after, now.mono));
    let from = far.or_else(|| (!after.is_empty()).then(|| after.into()));
    let (found, next) = look(tables, (&every, now.wall), (from, page.size), may).await;
    let token = match (found.last(), next) {
        (last, Some(_)) if last.is_some() => last.map(|(message, _)| message.topic().to_owned()),
        (_, Some(far)) => {
            searches().note(who, (after, far), now.mono);
            let before = empty.and_then(|it| it.parse::<u64>().ok()).unwrap_or(0);
            let empty = before.wrapping_add(1);
            return Ok((found, Some(format!("{after}{EMPTY}{empty}"))));
        }
        (_, None) => None,
    };
    searches().forget(who, after);
    Ok((found, token))
}

/// Those behind a topic that may be read, and behind which topic to go on if there may be more.
async fn look(
    tables: &Tables,
    (every, now): (&TopicFilter, Wall),
    (mut after, size): (Option<Arc<str>>, usize),
    may: impl Fn(&str) -> bool,
) -> (Vec<(Publication, Wall)>, Option<Arc<str>>) {
    let mut found: Vec<(Publication, Wall)> = Vec::new();
    let mut looked = 0;
    loop {
        let (mut seen, begun) = (Vec::new(), looked);
        // Rights are asked once the table is free again.
        let next = {
            let all = tables.retained();
            all.for_matches(every, after.as_deref(), now, |message| {
                looked += 1;
                seen.extend(message.map(|message| (message.clone(), all.since(message.topic()))));
                looked - begun < LOOKS && seen.len() < size - found.len()
            })
        };
        found.extend(seen.into_iter().filter(|(message, _)| may(message.topic())));
        after = next;
        let enough = if found.is_empty() { LOOKS_FOR_NOTHING } else { LOOKS_PER_PAGE };
        if after.is_none() || found.len() >= size || looked >= enough {
            return (found, after);
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
    use std::time::Duration;

    use protocol::{ClientId, QoS};

    use super::*;

    const NOW: Now = Now { mono: Duration::ZERO, wall: Wall(1) };

    fn retained(topics: &[String]) -> Tables {
        let tables = Tables::default();
        for topic in topics {
            let message = Publication::new(topic, &[], b"x", QoS::AtLeastOnce, true);
            tables.change_retained(|all| all.set(topic, Some((message, Wall(1)))));
        }
        tables
    }

    /// The topics in a page for a client that may read what is its own, and the token for more.
    fn page(
        (tables, searches): (&Tables, &Mutex<Searches>),
        (token, size): (Option<&str>, usize),
    ) -> (Vec<String>, Option<String>) {
        let may = |topic: &str| topic.starts_with("mine/");
        let who = Identity::anonymous(ClientId::new("a").unwrap());
        let page = Page { after: token.map(Into::into), size };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let looked = runtime.block_on(search((searches, &who, NOW), tables, page, may));
        let (found, next) = looked.unwrap_or_else(|_| panic!("refused"));
        (found.iter().map(|(it, _)| it.topic().to_owned()).collect(), next)
    }

    fn secret(first: char, many: usize) -> impl Iterator<Item = String> {
        (0..many).map(move |number| format!("{first}/secret/{number:06}"))
    }

    fn mine(numbers: &[u8]) -> Vec<String> {
        numbers.iter().map(|number| format!("mine/{number}")).collect()
    }

    #[test]
    fn where_to_go_on_is_a_topic_that_may_be_read() {
        let searches = Mutex::default();
        let mut topics: Vec<_> = secret('a', LOOKS_PER_PAGE + 10).collect();
        let at =
            |topics: &[String], token, size| page((&retained(topics), &searches), (token, size));
        let next = |topic: &str| Some(topic.to_owned());
        assert_eq!(at(&topics, None, 2), (vec![], None));
        topics.extend(mine(&[1, 2, 3]));
        let two = (mine(&[1, 2]), next("mine/2"));
        assert_eq!(at(&topics, None, 2), two, "behind what is nobody's business");
        assert_eq!(at(&topics, Some("mine/2"), 2), (mine(&[3]), None));
        topics.extend(secret('z', LOOKS_PER_PAGE + 1));
        assert_eq!(at(&topics, Some("mine/2"), 2), (mine(&[3]), next("mine/3")));
        assert_eq!(at(&topics, Some("mine/3"), 2), (vec![], None));
    }

    #[test]
    fn each_page_gets_further_also_where_nothing_is_found_and_tells_no_name() {
        let many = secret('a', 2 * LOOKS_FOR_NOTHING).chain(mine(&[1]));
        let many: Vec<_> = many.chain(secret('z', LOOKS_FOR_NOTHING + 10)).collect();
        let (tables, searches) = (retained(&many), Mutex::default());
        let (mut token, mut found, mut tokens) = (None, Vec::new(), Vec::new());
        loop {
            let (topics, next) = page((&tables, &searches), (token.as_deref(), 2));
            found.extend(topics);
            let Some(next) = next else { break };
            tokens.push(next.clone());
            token = Some(next);
        }
        assert_eq!(found, mine(&[1]));
        assert_eq!(tokens, ["#1", "#2", "mine/1", "mine/1#1"]);
    }

    #[test]
    fn who_begins_anew_finds_what_has_come_since() {
        let tables = retained(&secret('n', LOOKS_FOR_NOTHING + 10).collect::<Vec<_>>());
        let searches = Mutex::default();
        assert_eq!(page((&tables, &searches), (None, 2)), (vec![], Some("#1".to_owned())));
        let message = Publication::new("mine/1", &[], b"x", QoS::AtLeastOnce, true);
        tables.change_retained(|all| all.set("mine/1", Some((message, Wall(1)))));
        assert_eq!(page((&tables, &searches), (None, 2)).0, mine(&[1]));
    }

    #[test]
    fn a_gateway_that_does_not_know_how_far_was_looked_looks_again_and_leaves_nothing_out() {
        let many = secret('a', LOOKS_FOR_NOTHING + 10).chain(mine(&[1]));
        let tables = retained(&many.collect::<Vec<_>>());
        let (here, there) = (Mutex::default(), Mutex::default());
        let first = page((&tables, &here), (None, 2));
        assert_eq!(first, (vec![], Some("#1".to_owned())));
        let elsewhere = page((&tables, &there), (Some("#1"), 2));
        assert_eq!(elsewhere, (vec![], Some("#2".to_owned())));
        assert_eq!(page((&tables, &there), (Some("#2"), 2)), (mine(&[1]), None));
    }
}
