//! `things`: what is written down about devices.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::api::{Api, ApiError};
use super::clients::{first, moment};
use super::exit::{Exit, Failure};
use super::reach::Reached;
use super::show::{percent_encoded, table};
use crate::control::ControlError;
use crate::http::{ThingPage, ThingStatus, ThingsAnswer, ThingsRequest};
use crate::presence::{PutThing, PutWhen, ThingDocument};

/// What to do with things.
#[derive(Debug, Clone, Subcommand)]
pub enum ThingsCommand {
    /// Write a thing down; exit code 4 when it is known already.
    Create {
        /// Its name: a client with this id is this thing.
        name: String,
        /// What is known of it.
        #[command(flatten)]
        marks: Marks,
    },
    /// Show one, and its connection.
    Show {
        /// Its name.
        name: String,
    },
    /// List things, all or those that a search finds.
    List {
        /// Such as `attributes.model:P4* AND connectivity.connected:true`.
        #[arg(long, value_name = "SEARCH")]
        query: Option<String>,
    },
    /// Change what is written down about one; what is not named stays.
    Update {
        /// Its name.
        name: String,
        /// What is new.
        #[command(flatten)]
        marks: Marks,
        /// A group that it leaves.
        #[arg(long, value_name = "GROUP")]
        leave: Vec<String>,
    },
    /// Forget a thing; its shadows stay.
    Remove {
        /// Its name.
        name: String,
    },
    /// Write down the things of a file.
    Import {
        /// CSV with a line of names, or JSON.
        file: PathBuf,
        /// Which it is; by the end of its name when absent.
        #[arg(long)]
        format: Option<Format>,
        /// Write over what is known already, instead of leaving it.
        #[arg(long)]
        replace: bool,
    },
    /// Print things so that they can be imported.
    Export {
        /// As what.
        #[arg(long, default_value = "csv")]
        format: Format,
        /// Such as `thingGroupNames:north`.
        #[arg(long, value_name = "SEARCH")]
        query: Option<String>,
    },
}

/// What is written down about a thing.
#[derive(Debug, Clone, Default, Args)]
pub struct Marks {
    /// An attribute; without a value it is taken away.
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = attribute)]
    pub attributes: Vec<(String, String)>,
    /// A group that it is in.
    #[arg(long = "group", value_name = "GROUP")]
    pub groups: Vec<String>,
    /// SHA-256 fingerprint of a certificate, in hexadecimal.
    #[arg(long = "certificate", value_name = "FINGERPRINT")]
    pub certificates: Vec<String>,
}

/// How things stand in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One line for each; columns `name`, `groups`, `certificates` and `attributes.` with a name.
    Csv,
    /// A list of objects.
    Json,
}

/// Things that are sent at once.
const BATCH: usize = 500;
const NAME: &str = "name";
const GROUPS: &str = "groups";
const CERTIFICATES: &str = "certificates";
const ATTRIBUTE: &str = "attributes.";

/// Asks the first gateway that answers: things are the whole fleet's.
pub(super) async fn run(
    gateways: Vec<Reached>,
    command: &ThingsCommand,
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let from_file = match command {
        ThingsCommand::Import { file, format, .. } => read_file(file, *format)?,
        ThingsCommand::Create { .. }
        | ThingsCommand::Show { .. }
        | ThingsCommand::List { .. }
        | ThingsCommand::Update { .. }
        | ThingsCommand::Remove { .. }
        | ThingsCommand::Export { .. } => Vec::new(),
    };
    let text = first(gateways, async |api: &Api| match command {
        ThingsCommand::Create { name, marks } => create(api, name, marks, json).await,
        ThingsCommand::Show { name } => {
            let path = format!("/api/v1/things/{}", percent_encoded(name));
            Ok(shown(&api.get(&path).await?, json))
        }
        ThingsCommand::List { query } => Ok(listed(&all(api, query.as_deref()).await?, json)),
        ThingsCommand::Update { name, marks, leave } => update(api, name, marks, leave, json).await,
        ThingsCommand::Remove { name } => {
            let path = format!("/api/v1/things/{}", percent_encoded(name));
            let thing = api.delete(&path).await?;
            Ok(shown(&ThingStatus { thing, connection: None }, json))
        }
        ThingsCommand::Import { replace, .. } => {
            let when = if *replace { PutWhen::Always } else { PutWhen::New };
            import(api, &from_file, when, json).await
        }
        ThingsCommand::Export { format, query } => {
            let things = all(api, query.as_deref()).await?;
            let things: Vec<_> = things.into_iter().map(|it| it.thing).collect();
            Ok(match format {
                Format::Json => format!("{}\n", json!(things)),
                Format::Csv => to_csv(&things),
            })
        }
    });
    out.write_all(text.await?.as_bytes())?;
    Ok(Exit::Done)
}

async fn put(
    api: &Api,
    things: Vec<ThingDocument>,
    when: PutWhen,
) -> Result<Vec<PutThing>, ApiError> {
    let answer: ThingsAnswer = api.post("/api/v1/things", &ThingsRequest { things, when }).await?;
    Ok(answer.things)
}

async fn create(api: &Api, name: &str, marks: &Marks, json: bool) -> Result<String, ApiError> {
    let mut thing = ThingDocument { name: name.to_owned(), ..ThingDocument::default() };
    mark(&mut thing, marks);
    if put(api, vec![thing.clone()], PutWhen::New).await? == [PutThing::Known] {
        let detail = "the thing is known already; `things update` changes it".to_owned();
        return Err(ApiError::Problem(ControlError::Refused(detail).into()));
    }
    Ok(shown(&ThingStatus { thing, connection: None }, json))
}

async fn update(
    api: &Api,
    name: &str,
    marks: &Marks,
    leave: &[String],
    json: bool,
) -> Result<String, ApiError> {
    let path = format!("/api/v1/things/{}", percent_encoded(name));
    let mut status: ThingStatus = api.get(&path).await?;
    mark(&mut status.thing, marks);
    status.thing.groups.retain(|group| !leave.contains(group));
    put(api, vec![status.thing.clone()], PutWhen::Always).await?;
    Ok(shown(&status, json))
}

fn mark(thing: &mut ThingDocument, marks: &Marks) {
    thing.attributes.extend(marks.attributes.iter().cloned());
    thing.attributes.retain(|_, value| !value.is_empty());
    thing.groups.extend(marks.groups.iter().cloned());
    thing.certificates.extend(marks.certificates.iter().cloned());
}

async fn all(api: &Api, query: Option<&str>) -> Result<Vec<ThingStatus>, ApiError> {
    let query = query.map(|it| format!("&query={}", percent_encoded(it))).unwrap_or_default();
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page: ThingPage = api.get(&format!("/api/v1/things?max=1000{query}{after}")).await?;
        found.extend(page.things);
        let Some(next) = page.next else { return Ok(found) };
        after = format!("&after={}", percent_encoded(&next));
    }
}

async fn import(
    api: &Api,
    things: &[ThingDocument],
    when: PutWhen,
    json: bool,
) -> Result<String, ApiError> {
    let (mut created, mut replaced, mut known) = (0_usize, 0_usize, 0_usize);
    for batch in things.chunks(BATCH) {
        for put in put(api, batch.to_vec(), when).await? {
            match put {
                PutThing::Created => created += 1,
                PutThing::Replaced => replaced += 1,
                PutThing::Known => known += 1,
            }
        }
    }
    Ok(if json {
        format!("{}\n", json!({"created": created, "replaced": replaced, "known": known}))
    } else {
        format!("{created} created, {replaced} replaced, {known} known already and left\n")
    })
}

fn shown(status: &ThingStatus, json: bool) -> String {
    if json {
        return format!("{}\n", json!(status));
    }
    let ThingStatus { thing, connection } = status;
    let mut rows = vec![vec![NAME.to_owned(), thing.name.clone()]];
    let mut add = |name: &str, value: &str| rows.push(vec![name.to_owned(), value.to_owned()]);
    thing.attributes.iter().for_each(|(name, value)| add(name, value));
    thing.groups.iter().for_each(|group| add("group", group));
    thing.certificates.iter().for_each(|it| add("certificate", it));
    if let Some(at) = thing.created_at_ms {
        add("created", &moment(at));
    }
    if let Some(it) = connection {
        add("connected", if it.connected { "yes" } else { "no" });
        it.gateway.iter().for_each(|gateway| add("gateway", gateway));
        it.reason().iter().for_each(|why| add("why it left", why));
    }
    table(&rows)
}

fn listed(things: &[ThingStatus], json: bool) -> String {
    if json {
        return format!("{}\n", json!({"things": things}));
    }
    let title = [NAME, "connected", GROUPS, "attributes"];
    let mut rows = vec![title.map(str::to_owned).to_vec()];
    rows.extend(things.iter().map(|ThingStatus { thing, connection }| {
        let connected = connection.as_ref().is_some_and(|it| it.connected);
        let pairs = thing.attributes.iter().map(|(name, value)| format!("{name}={value}"));
        vec![
            thing.name.clone(),
            if connected { "yes" } else { "no" }.to_owned(),
            joined(&thing.groups),
            pairs.collect::<Vec<_>>().join(" "),
        ]
    }));
    table(&rows)
}

fn joined(set: &BTreeSet<String>) -> String {
    set.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
}

/// A name, an equals sign, a value.
fn attribute(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("give a name, an equals sign and a value")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn read_file(file: &PathBuf, format: Option<Format>) -> Result<Vec<ThingDocument>, Failure> {
    let wrong =
        |why: String| Failure { exit: Exit::Usage, message: format!("{}: {why}", file.display()) };
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let is_json = file.extension().is_some_and(|end| end.eq_ignore_ascii_case("json"));
    let by_name = if is_json { Format::Json } else { Format::Csv };
    match format.unwrap_or(by_name) {
        Format::Json => serde_json::from_str(&text).map_err(|error| wrong(error.to_string())),
        Format::Csv => from_csv(&text).map_err(wrong),
    }
}

fn to_csv(things: &[ThingDocument]) -> String {
    let names: BTreeSet<&String> = things.iter().flat_map(|it| it.attributes.keys()).collect();
    let mut rows = csv::Writer::from_writer(Vec::new());
    let title = [NAME, GROUPS, CERTIFICATES].map(str::to_owned).into_iter();
    let title = title.chain(names.iter().map(|name| format!("{ATTRIBUTE}{name}")));
    // Into memory: it cannot fail, and every row has as many columns as the first.
    let _ = rows.write_record(title);
    for it in things {
        let fixed = [it.name.clone(), joined(&it.groups), joined(&it.certificates)].into_iter();
        let values = names.iter().map(|name| it.attributes.get(*name).cloned().unwrap_or_default());
        let _ = rows.write_record(fixed.chain(values));
    }
    rows.into_inner().ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
}

fn from_csv(text: &str) -> Result<Vec<ThingDocument>, String> {
    let mut rows = csv::Reader::from_reader(text.as_bytes());
    let titles = rows.headers().map_err(|error| error.to_string())?.clone();
    let known =
        |title: &str| [NAME, GROUPS, CERTIFICATES].contains(&title) || title.starts_with(ATTRIBUTE);
    if let Some(other) = titles.iter().find(|title| !known(title)) {
        return Err(format!(
            "there is no column {other:?}: name, groups, certificates, and attributes.NAME for each"
        ));
    }
    let mut things = Vec::new();
    for row in rows.records() {
        let row = row.map_err(|error| error.to_string())?;
        let mut columns: BTreeMap<&str, &str> = titles.iter().zip(&row).collect();
        let words = |text: Option<&str>| {
            text.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
        };
        let name = columns.remove(NAME).unwrap_or_default().to_owned();
        let groups = words(columns.remove(GROUPS));
        let certificates = words(columns.remove(CERTIFICATES));
        let attributes = columns.into_iter().filter(|(_, value)| !value.is_empty());
        let attributes = attributes.filter_map(|(title, value)| {
            Some((title.strip_prefix(ATTRIBUTE)?.to_owned(), value.to_owned()))
        });
        let attributes = attributes.collect();
        things.push(ThingDocument { name, attributes, groups, certificates, created_at_ms: None });
    }
    Ok(things)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_exported_as_csv_is_imported_again() {
        let thing = |name: &str, attributes: &[(&str, &str)], groups: &[&str]| ThingDocument {
            name: name.into(),
            attributes: attributes.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect(),
            groups: groups.iter().map(|it| (*it).into()).collect(),
            certificates: BTreeSet::new(),
            created_at_ms: None,
        };
        let things = vec![
            thing("a", &[("model", "P 4, \"new\""), ("site", "K\u{f6}ln\nNord")], &["n", "s"]),
            thing("b", &[("other", "x")], &[]),
        ];
        assert_eq!(from_csv(&to_csv(&things)), Ok(things));
        assert_eq!(from_csv(&to_csv(&[])), Ok(Vec::new()));
    }

    #[test]
    fn a_table_with_an_unknown_column_is_refused() {
        let why = from_csv("name,model\na,P4\n").unwrap_err();
        assert!(why.contains("\"model\""), "{why}");
        assert!(from_csv("name,groups\na\n").is_err(), "a row that is too short");
    }
}
