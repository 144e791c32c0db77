//! `acl`: which rule decides what a client may do, and whether an access file can be used.

use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use access::{Action, CertificateNames, Effect, Explanation, Identity, Policy, Question, Reason};
use clap::{Args, Subcommand};
use protocol::{ClientId, QoS, TopicFilter, TopicName};
use serde_json::json;
use shadow::{PublishAim, publish_aim};

use super::exit::{Exit, Failure};
use crate::config;
use crate::rights::{self, Dialect};

/// What to ask of the access files.
#[derive(Debug, Clone, Subcommand)]
pub enum AclCommand {
    /// Say which rule decides whether a client may do something; exit code 5 when it may not.
    Explain(Box<ExplainArguments>),
    /// Check an access file; exit code 64 when something is wrong with it.
    Check {
        /// Access file.
        file: PathBuf,
        /// It is written as mosquitto has it.
        #[arg(long)]
        mosquitto: bool,
    },
}

/// Arguments of `acl explain`.
#[derive(Debug, Clone, Args)]
pub struct ExplainArguments {
    /// Configuration file that names the access files; `gw-1.toml` in the data folder when absent.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Client id.
    #[arg(long, value_name = "ID")]
    pub client: String,
    /// User.
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Common name in the certificate.
    #[arg(long, value_name = "NAME")]
    pub cn: Option<String>,
    /// Organisation in the certificate.
    #[arg(long, value_name = "NAME")]
    pub o: Option<String>,
    /// Organisational unit in the certificate.
    #[arg(long, value_name = "NAME")]
    pub ou: Option<String>,
    /// Alternative name of kind DNS in the certificate.
    #[arg(long, value_name = "NAME")]
    pub san: Vec<String>,
    /// Issuer of the certificate.
    #[arg(long, value_name = "NAME")]
    pub issuer: Option<String>,
    /// Where it comes from.
    #[arg(long, value_name = "ADDRESS")]
    pub address: Option<IpAddr>,
    /// Topic to publish to.
    #[arg(long, value_name = "TOPIC", required_unless_present = "subscribe")]
    pub publish: Option<String>,
    /// Filter to subscribe to.
    #[arg(long, value_name = "FILTER", conflicts_with_all = ["publish", "retain"])]
    pub subscribe: Option<String>,
    /// Level, 0 to 2.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub qos: u8,
    /// Whether to retain.
    #[arg(long)]
    pub retain: bool,
}

/// Does it.
pub(super) fn run(
    command: &AclCommand,
    (data, json): (&Path, bool),
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    match command {
        AclCommand::Explain(it) => explain(it, data, json, out),
        AclCommand::Check { file, mosquitto } => {
            let dialect = if *mosquitto { Dialect::Mosquitto } else { Dialect::Ours };
            let rules = rights::read(file, dialect)?;
            if json {
                writeln!(out, "{}", json!({"ok": true, "rules": rules.len()}))?;
            } else {
                writeln!(out, "{}: {} sound rules", file.display(), rules.len())?;
            }
            Ok(Exit::Done)
        }
    }
}

fn explain(
    it: &ExplainArguments,
    data: &Path,
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let file = it.config.clone().unwrap_or_else(|| data.join("gw-1.toml"));
    let resolved = config::read(&file)?;
    let policy = Arc::new(rights::load(&resolved.rights)?);
    let who = Arc::new(identity(it)?);
    let qos = QoS::from_bits(it.qos).unwrap_or(QoS::AtMostOnce);
    let (action, topic) = asked(it)?;
    let question = Question { action, topic: &topic, qos, retain: it.retain };
    let told = policy.explain(&who, question);
    if json {
        writeln!(out, "{}", as_json(&told, question))?;
    } else {
        out.write_all(as_text(&told, question, &policy).as_bytes())?;
    }
    let is_allowed = told.answer.is_ok() && !is_closed(question);
    Ok(if is_allowed { Exit::Done } else { Exit::Denied })
}

fn usage(what: String) -> Failure {
    Failure { exit: Exit::Usage, message: what }
}

/// What to do, and the topic or the filter without its share prefix.
fn asked(it: &ExplainArguments) -> Result<(Action, String), Failure> {
    if let Some(filter) = &it.subscribe {
        let (_, plain) = TopicFilter::parse_subscription(filter)
            .map_err(|error| usage(format!("the filter {error}")))?;
        return Ok((Action::Subscribe, plain.as_str().to_owned()));
    }
    let topic = it.publish.clone().unwrap_or_default();
    TopicName::check(&topic).map_err(|error| usage(format!("the topic {error}")))?;
    Ok((Action::Publish, topic))
}

fn identity(it: &ExplainArguments) -> Result<Identity, Failure> {
    let client =
        ClientId::new(&it.client).map_err(|error| usage(format!("the client id {error}")))?;
    let named = [&it.cn, &it.o, &it.ou, &it.issuer].into_iter().any(Option::is_some);
    let certified = named || !it.san.is_empty();
    let certificate = certified.then(|| {
        Arc::new(CertificateNames {
            common_name: it.cn.clone(),
            organization: it.o.clone(),
            organizational_unit: it.ou.clone(),
            dns_names: it.san.clone(),
            issuer: it.issuer.clone().unwrap_or_default(),
            ..CertificateNames::default()
        })
    });
    let user = it.user.as_deref().map(Arc::from);
    Ok(Identity { user, certificate, address: it.address, ..Identity::anonymous(client) })
}

/// Whether nobody publishes to this topic, whatever rules say. Those of connections stand for calls by HTTPS.
fn is_closed(question: Question<'_>) -> bool {
    let Question { action, topic, retain, .. } = question;
    action == Action::Publish
        && topic.starts_with('$')
        && !topic.starts_with("$aws/connections/")
        && !matches!(publish_aim(topic, retain), Ok(PublishAim::Request(_)))
}

fn verdict(told: &Explanation, question: Question<'_>) -> String {
    let (action, topic) = (question.action.as_str(), question.topic);
    match &told.answer {
        _ if is_closed(question) => {
            format!(
                "denied: {action} {topic}: behind `$` only requests about shadows are published, not retained"
            )
        }
        Ok(qos) if question.action == Action::Subscribe => {
            format!("allowed: {action} {topic}, at QoS {} at most", qos.bits())
        }
        Ok(_) => format!("allowed: {action} {topic}"),
        Err(denial) => format!("denied: {action} {topic}: {denial}"),
    }
}

fn as_text(told: &Explanation, question: Question<'_>, policy: &Policy) -> String {
    let mut text = format!("{}\n", verdict(told, question));
    if policy.is_allow_all() {
        text.push_str("  access.allow_all is true\n");
    } else if policy.rules_len() == 0 {
        text.push_str("  there is no rule: access.acl names no file, or the file is empty\n");
    }
    for step in &told.steps {
        let why = words(&step.reason, step.effect);
        text.push_str(&format!("  {} ({}): {why}\n", step.source, step.effect.as_str()));
    }
    // What somebody calls itself must not reach a terminal as a command.
    text.replace(|c: char| c.is_control() && c != '\n', "\u{fffd}")
}

fn words(reason: &Reason, effect: Effect) -> String {
    match reason {
        Reason::Others(key) => format!("is about others, `{key}` does not fit"),
        Reason::OtherAction => "is about the other action".to_owned(),
        Reason::OtherTopics => "is about other topics".to_owned(),
        Reason::NothingToFillIn => "the client has nothing to fill in for its topics".to_owned(),
        Reason::UnsafeName => "the client's own name has `/`, `+` or `#`".to_owned(),
        Reason::Part => "allows only a part of what the filter matches".to_owned(),
        Reason::Decides => match effect {
            Effect::Allow => "decides: allowed within its limits".to_owned(),
            Effect::Deny => "decides: denied".to_owned(),
        },
    }
}

fn as_json(told: &Explanation, question: Question<'_>) -> serde_json::Value {
    let steps: Vec<_> = told
        .steps
        .iter()
        .map(|step| {
            json!({
                "file": &*step.source.file,
                "line": step.source.line,
                "name": step.source.name.as_deref(),
                "effect": step.effect.as_str(),
                "decides": step.reason == Reason::Decides,
                "why": words(&step.reason, step.effect),
            })
        })
        .collect();
    let answer = told.answer.as_ref().map_err(|denial| denial.cause.as_str());
    let answer = if is_closed(question) { Err("reserved") } else { answer };
    json!({
        "allowed": answer.is_ok(),
        "action": question.action.as_str(),
        "topic": question.topic,
        "max_qos": answer.ok().map(|qos| qos.bits()),
        "reason": answer.err(),
        "rules": steps,
    })
}
