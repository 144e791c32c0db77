//! What is counted.
//!
//! Each worker has its own [`WorkerCounters`] and is the only one that writes it, so counting is a load and a
//! store without a locked instruction; readers sum over the workers.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::calls::CallCounts;
use super::count::{Count, Statements};
use super::drains::Drains;
use super::labelled::Labels;
use super::moves::render_followed;
use super::refused::{self, Refused, WhyRefused};
use super::render::{Descriptor, Kind, Usage, render_families, render_usage, render_violations};
use super::scheduled::Scheduled;

/// Everything this process counts: give one [`WorkerCounters`] to each worker.
#[derive(Debug, Clone)]
pub struct Metrics {
    workers: Vec<Arc<WorkerCounters>>,
    process: Arc<ProcessCounters>,
    calls: Arc<CallCounts>,
    campaigns: Arc<Labels>,
    scheduled: Arc<Scheduled>,
    drains: Arc<Drains>,
}

impl Metrics {
    /// Counters for `workers` workers, all zero.
    pub fn new(workers: usize) -> Self {
        let workers = (0..workers).map(|_| Arc::new(WorkerCounters::default())).collect();
        Self {
            workers,
            process: Arc::default(),
            calls: Arc::default(),
            campaigns: Arc::default(),
            scheduled: Arc::default(),
            drains: Arc::default(),
        }
    }

    /// The counters of one worker; `None` when there is no such worker.
    pub fn worker(&self, index: usize) -> Option<Arc<WorkerCounters>> {
        self.workers.get(index).cloned()
    }

    /// The counters of every worker.
    pub fn workers(&self) -> &[Arc<WorkerCounters>] {
        &self.workers
    }

    /// The counters that belong to no worker: committer, peer links, drain.
    pub fn process(&self) -> &Arc<ProcessCounters> {
        &self.process
    }

    /// The requests of devices by HTTPS.
    pub fn calls(&self) -> &CallCounts {
        &self.calls
    }

    /// The same, with so many values of each label that operators choose.
    #[must_use]
    pub fn showing(self, most: u32) -> Self {
        self.allow_labels(most);
        self
    }

    /// So many values of each label that operators choose are shown by name.
    pub fn allow_labels(&self, most: u32) {
        self.campaigns.allow(most.into());
        self.scheduled.allow(most.into());
    }

    /// The campaigns that are shown by name.
    pub fn campaigns(&self) -> &Labels {
        &self.campaigns
    }

    /// What the scheduler shows by domain and campaign.
    pub fn scheduled(&self) -> &Scheduled {
        &self.scheduled
    }

    /// The drains of this gateway by campaign.
    pub fn drains(&self) -> &Drains {
        &self.drains
    }

    /// The sum of one counter over the workers, as in `metrics.sum(|w| &w.connections)`.
    pub fn sum(&self, pick: impl Fn(&WorkerCounters) -> &Count) -> u64 {
        self.workers.iter().map(|worker| pick(worker).get()).fold(0, u64::wrapping_add)
    }

    /// How many publications were received from clients, of any `QoS`.
    pub fn publications(&self) -> u64 {
        self.sum(|worker| &worker.publications_qos0)
            + self.sum(|worker| &worker.publications_qos1)
            + self.sum(|worker| &worker.publications_qos2)
    }

    /// How many CONNECTs were not let in for one reason, by whomever.
    pub fn refused(&self, why: WhyRefused) -> u64 {
        let workers = self.workers.iter().map(|worker| &worker.refused);
        workers.chain([&self.process.refused]).map(|it| it.get(why)).fold(0, u64::wrapping_add)
    }

    /// How often each statement of the standard was broken by clients.
    pub fn violations(&self) -> BTreeMap<&'static str, u64> {
        let mut sums = BTreeMap::new();
        let workers = self.workers.iter().map(|worker| &worker.violations);
        for statements in workers.chain([&self.process.violations]) {
            for (statement, count) in &*statements.lock() {
                *sums.entry(*statement).or_default() += count;
            }
        }
        sums
    }

    /// The Prometheus text of everything, with the process's CPU time and resident memory.
    pub fn render(&self) -> String {
        let mut text = String::with_capacity(8 * 1024);
        let mut sums = [0_u64; WorkerCounters::DESCRIPTORS.len()];
        for worker in &self.workers {
            for (sum, value) in sums.iter_mut().zip(worker.values()) {
                *sum = sum.wrapping_add(value);
            }
        }
        render_families(&mut text, WorkerCounters::DESCRIPTORS, &sums);
        render_families(&mut text, ProcessCounters::DESCRIPTORS, &self.process.values());
        refused::render(&mut text, |why| self.refused(why));
        render_violations(&mut text, &self.violations());
        self.calls.render(&mut text);
        self.scheduled.render(&mut text);
        self.drains.render(&mut text);
        render_followed(&mut text, |level, came| self.sum(|it| it.redirected(level, came)));
        render_usage(&mut text, Usage::now());
        text
    }
}

/// Declares a struct of counters with their Prometheus names, so that no counter can be forgotten in the text.
macro_rules! counters {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( $field:ident: $kind:ident $family:literal $labels:literal $help:literal, )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct $name {
            $( #[doc = $help] pub $field: Count, )+
            /// Statements of the standard that clients broke.
            pub violations: Statements,
            /// CONNECTs that were not let in.
            pub refused: Refused,
        }

        impl $name {
            const DESCRIPTORS: &'static [Descriptor] = &[
                $( Descriptor { family: $family, labels: $labels, kind: Kind::$kind, help: $help }, )+
            ];

            fn values(&self) -> [u64; Self::DESCRIPTORS.len()] {
                [ $( self.$field.get(), )+ ]
            }
        }
    };
}

counters! {
    /// What one worker counts; written by that worker alone.
    pub struct WorkerCounters {
        connections: Gauge "tidegate_connections" "" "Open network connections.",
        connections_opened: Counter "tidegate_connections_opened_total" "" "Network connections accepted.",
        connects_10ms: Bucket "tidegate_connect_seconds" "le=\"0.01\"" "From accepting a connection to the CONNACK that lets its client in.",
        connects_50ms: Bucket "tidegate_connect_seconds" "le=\"0.05\"" "From accepting a connection to the CONNACK that lets its client in.",
        connects_100ms: Bucket "tidegate_connect_seconds" "le=\"0.1\"" "From accepting a connection to the CONNACK that lets its client in.",
        connects_250ms: Bucket "tidegate_connect_seconds" "le=\"0.25\"" "From accepting a connection to the CONNACK that lets its client in.",
        connects_500ms: Bucket "tidegate_connect_seconds" "le=\"0.5\"" "From accepting a connection to the CONNACK that lets its client in.",
        connects_1s: Bucket "tidegate_connect_seconds" "le=\"1\"" "From accepting a connection to the CONNACK that lets its client in.",
        connects_2s: Bucket "tidegate_connect_seconds" "le=\"2\"" "From accepting a connection to the CONNACK that lets its client in.",
        connects_5s: Bucket "tidegate_connect_seconds" "le=\"5\"" "From accepting a connection to the CONNACK that lets its client in.",
        connects_10s: Bucket "tidegate_connect_seconds" "le=\"10\"" "From accepting a connection to the CONNACK that lets its client in.",
        connects_all: Bucket "tidegate_connect_seconds" "le=\"+Inf\"" "From accepting a connection to the CONNACK that lets its client in.",
        connect_nanoseconds: HistogramNanoseconds "tidegate_connect_seconds" "" "From accepting a connection to the CONNACK that lets its client in.",
        connects: HistogramCount "tidegate_connect_seconds" "" "From accepting a connection to the CONNACK that lets its client in.",
        drain_gap_50ms: Bucket "tidegate_drain_gap_seconds" "le=\"0.05\"" "From the moment a drain moved a client to its coming back here; of clients whose presence is kept.",
        drain_gap_250ms: Bucket "tidegate_drain_gap_seconds" "le=\"0.25\"" "From the moment a drain moved a client to its coming back here; of clients whose presence is kept.",
        drain_gap_1s: Bucket "tidegate_drain_gap_seconds" "le=\"1\"" "From the moment a drain moved a client to its coming back here; of clients whose presence is kept.",
        drain_gap_5s: Bucket "tidegate_drain_gap_seconds" "le=\"5\"" "From the moment a drain moved a client to its coming back here; of clients whose presence is kept.",
        drain_gap_15s: Bucket "tidegate_drain_gap_seconds" "le=\"15\"" "From the moment a drain moved a client to its coming back here; of clients whose presence is kept.",
        drain_gap_all: Bucket "tidegate_drain_gap_seconds" "le=\"+Inf\"" "From the moment a drain moved a client to its coming back here; of clients whose presence is kept.",
        drain_gap_nanoseconds: HistogramNanoseconds "tidegate_drain_gap_seconds" "" "From the moment a drain moved a client to its coming back here; of clients whose presence is kept.",
        drain_gaps: HistogramCount "tidegate_drain_gap_seconds" "" "From the moment a drain moved a client to its coming back here; of clients whose presence is kept.",
        drain_unfinished: Counter "tidegate_drain_unfinished_total" "" "Clients that drains moved before they had finished what was under way: their time for that was over, or they had none. They are sent again what they have not acknowledged.",
        drain_moves_beyond: Counter "tidegate_drain_moves_beyond_budget_total" "" "Clients that drains moved although they had been moved as often as `moves.per_device` of policies allows; of clients whose presence is kept.",
        drain_missing: Counter "tidegate_drain_missing_total" "" "Clients that a drain had moved and that did not come back in time, of those whose presence is kept; counted by the gateway that tells of them.",
        redirects_v31_named: Counter "tidegate_drain_redirects_total" "proto=\"3.1\",came=\"named\"" "Clients that drains had moved, by the version of their protocol and where they came; of those whose presence is kept, and where this gateway took them in or missed them.",
        redirects_v31_elsewhere: Counter "tidegate_drain_redirects_total" "proto=\"3.1\",came=\"elsewhere\"" "Clients that drains had moved, by the version of their protocol and where they came; of those whose presence is kept, and where this gateway took them in or missed them.",
        redirects_v31_missing: Counter "tidegate_drain_redirects_total" "proto=\"3.1\",came=\"missing\"" "Clients that drains had moved, by the version of their protocol and where they came; of those whose presence is kept, and where this gateway took them in or missed them.",
        redirects_v311_named: Counter "tidegate_drain_redirects_total" "proto=\"3.1.1\",came=\"named\"" "Clients that drains had moved, by the version of their protocol and where they came; of those whose presence is kept, and where this gateway took them in or missed them.",
        redirects_v311_elsewhere: Counter "tidegate_drain_redirects_total" "proto=\"3.1.1\",came=\"elsewhere\"" "Clients that drains had moved, by the version of their protocol and where they came; of those whose presence is kept, and where this gateway took them in or missed them.",
        redirects_v311_missing: Counter "tidegate_drain_redirects_total" "proto=\"3.1.1\",came=\"missing\"" "Clients that drains had moved, by the version of their protocol and where they came; of those whose presence is kept, and where this gateway took them in or missed them.",
        redirects_v5_named: Counter "tidegate_drain_redirects_total" "proto=\"5.0\",came=\"named\"" "Clients that drains had moved, by the version of their protocol and where they came; of those whose presence is kept, and where this gateway took them in or missed them.",
        redirects_v5_elsewhere: Counter "tidegate_drain_redirects_total" "proto=\"5.0\",came=\"elsewhere\"" "Clients that drains had moved, by the version of their protocol and where they came; of those whose presence is kept, and where this gateway took them in or missed them.",
        redirects_v5_missing: Counter "tidegate_drain_redirects_total" "proto=\"5.0\",came=\"missing\"" "Clients that drains had moved, by the version of their protocol and where they came; of those whose presence is kept, and where this gateway took them in or missed them.",
        moves_1: Bucket "tidegate_drain_moves_per_device" "le=\"1\"" "Moves of clients by drains, by which of its client's moves within `presence.moves_within_s` each is; of clients whose presence is kept.",
        moves_2: Bucket "tidegate_drain_moves_per_device" "le=\"2\"" "Moves of clients by drains, by which of its client's moves within `presence.moves_within_s` each is; of clients whose presence is kept.",
        moves_3: Bucket "tidegate_drain_moves_per_device" "le=\"3\"" "Moves of clients by drains, by which of its client's moves within `presence.moves_within_s` each is; of clients whose presence is kept.",
        moves_5: Bucket "tidegate_drain_moves_per_device" "le=\"5\"" "Moves of clients by drains, by which of its client's moves within `presence.moves_within_s` each is; of clients whose presence is kept.",
        moves_all: Bucket "tidegate_drain_moves_per_device" "le=\"+Inf\"" "Moves of clients by drains, by which of its client's moves within `presence.moves_within_s` each is; of clients whose presence is kept.",
        moves_sum: HistogramSum "tidegate_drain_moves_per_device" "" "Moves of clients by drains, by which of its client's moves within `presence.moves_within_s` each is; of clients whose presence is kept.",
        moves: HistogramCount "tidegate_drain_moves_per_device" "" "Moves of clients by drains, by which of its client's moves within `presence.moves_within_s` each is; of clients whose presence is kept.",
        at_most_once_gap: CounterThousandths "tidegate_drain_qos0_gap_estimate_total" "" "Publications at QoS 0 that clients probably missed while drains moved them: their own rate before times the time that they were away. An estimate.",
        drain_wills_deferred: Counter "tidegate_drain_wills_total" "fate=\"deferred\"" "Wills of clients that drains moved: they wait for the client, are cancelled since it came back, or published since it did not.",
        drain_wills_cancelled: Counter "tidegate_drain_wills_total" "fate=\"cancelled\"" "Wills of clients that drains moved: they wait for the client, are cancelled since it came back, or published since it did not.",
        drain_wills_published: Counter "tidegate_drain_wills_total" "fate=\"published\"" "Wills of clients that drains moved: they wait for the client, are cancelled since it came back, or published since it did not.",
        resent_qos1: Counter "tidegate_resent_total" "qos=\"1\"" "Publications to clients with DUP: they were sent before, or may have been.",
        resent_qos2: Counter "tidegate_resent_total" "qos=\"2\"" "Publications to clients with DUP: they were sent before, or may have been.",
        connections_closed: Counter "tidegate_connections_closed_total" "" "Network connections ended.",
        sessions: Gauge "tidegate_sessions" "" "Sessions owned here, attached or not.",
        packets_received: Counter "tidegate_packets_received_total" "" "Control packets received from clients.",
        packets_sent: Counter "tidegate_packets_sent_total" "" "Control packets sent to clients.",
        bytes_received: Counter "tidegate_bytes_received_total" "" "MQTT bytes received from clients.",
        bytes_sent: Counter "tidegate_bytes_sent_total" "" "MQTT bytes sent to clients.",
        publications_qos0: Counter "tidegate_publications_received_total" "qos=\"0\"" "Publications received from clients.",
        publications_qos1: Counter "tidegate_publications_received_total" "qos=\"1\"" "Publications received from clients.",
        publications_qos2: Counter "tidegate_publications_received_total" "qos=\"2\"" "Publications received from clients.",
        deliveries_qos0: Counter "tidegate_deliveries_total" "qos=\"0\"" "Publications sent to clients.",
        deliveries_qos1: Counter "tidegate_deliveries_total" "qos=\"1\"" "Publications sent to clients.",
        deliveries_qos2: Counter "tidegate_deliveries_total" "qos=\"2\"" "Publications sent to clients.",
        queue_in_session: Counter "tidegate_queue_in_total" "queue=\"session\"" "Entries put into a queue.",
        queue_in_commit: Counter "tidegate_queue_in_total" "queue=\"commit\"" "Entries put into a queue.",
        queue_out_session: Counter "tidegate_queue_out_total" "queue=\"session\"" "Entries taken out of a queue.",
        queue_out_commit: Counter "tidegate_queue_out_total" "queue=\"commit\"" "Entries taken out of a queue.",
        dropped_queue_count: Counter "tidegate_dropped_total" "reason=\"queue_count\"" "Deliveries given up, by reason.",
        dropped_queue_bytes: Counter "tidegate_dropped_total" "reason=\"queue_bytes\"" "Deliveries given up, by reason.",
        dropped_outbox_full: Counter "tidegate_dropped_total" "reason=\"outbox_full\"" "Deliveries given up, by reason.",
        dropped_mailbox_full: Counter "tidegate_dropped_total" "reason=\"mailbox_full\"" "Deliveries given up, by reason.",
        dropped_expired: Counter "tidegate_dropped_total" "reason=\"expired\"" "Deliveries given up, by reason.",
        dropped_denied: Counter "tidegate_dropped_total" "reason=\"denied\"" "Deliveries given up, by reason.",
        dropped_too_large: Counter "tidegate_dropped_total" "reason=\"too_large\"" "Deliveries given up, by reason.",
        dropped_no_member: Counter "tidegate_dropped_total" "reason=\"no_member\"" "Deliveries given up, by reason.",
        shadow_gets: Counter "tidegate_shadow_requests_total" "operation=\"get\"" "Requests about shadows that were answered.",
        shadow_updates: Counter "tidegate_shadow_requests_total" "operation=\"update\"" "Requests about shadows that were answered.",
        shadow_deletes: Counter "tidegate_shadow_requests_total" "operation=\"delete\"" "Requests about shadows that were answered.",
        shadow_rejected_invalid: Counter "tidegate_shadow_rejected_total" "reason=\"invalid\"" "Requests about shadows that were refused; failed are those that the store or this gateway could not do.",
        shadow_rejected_missing: Counter "tidegate_shadow_rejected_total" "reason=\"missing\"" "Requests about shadows that were refused; failed are those that the store or this gateway could not do.",
        shadow_rejected_version: Counter "tidegate_shadow_rejected_total" "reason=\"version\"" "Requests about shadows that were refused; failed are those that the store or this gateway could not do.",
        shadow_rejected_size: Counter "tidegate_shadow_rejected_total" "reason=\"size\"" "Requests about shadows that were refused; failed are those that the store or this gateway could not do.",
        shadow_rejected_rate: Counter "tidegate_shadow_rejected_total" "reason=\"rate\"" "Requests about shadows that were refused; failed are those that the store or this gateway could not do.",
        shadow_rejected_names: Counter "tidegate_shadow_rejected_total" "reason=\"names\"" "Requests about shadows that were refused; failed are those that the store or this gateway could not do.",
        shadow_rejected_failed: Counter "tidegate_shadow_rejected_total" "reason=\"failed\"" "Requests about shadows that were refused; failed are those that the store or this gateway could not do.",
        shadow_conflicts: Counter "tidegate_shadow_conflicts_total" "" "Writes of shadows that another gateway was quicker with; they are made again.",
        shadow_repeats: Counter "tidegate_shadow_repeats_total" "" "Shadows that were said again: others may not have waited for this gateway when they were written.",
        shadow_told_elsewhere: Counter "tidegate_shadow_told_total" "" "Messages to those who watch shadows here about what other gateways made of them.",
        shadow_put_off: Counter "tidegate_shadow_put_off_total" "" "Changes by other gateways that were not told here: more shadows are watched than are remembered.",
        shadow_left_out: Counter "tidegate_shadow_previous_left_out_total" "" "Changes by other gateways that were told here without what was there before, which there was no room to remember.",
        retained_not_kept: Counter "tidegate_retained_not_kept_total" "" "Publications with RETAIN at QoS 0 that were passed on and not kept: the table is full.",
        refused_reserved: Counter "tidegate_refused_total" "limit=\"reserved_topic\"" "What clients wanted beyond a limit.",
        refused_queue: Counter "tidegate_refused_total" "limit=\"queue\"" "What clients wanted beyond a limit.",
        refused_user_properties: Counter "tidegate_refused_total" "limit=\"user_properties\"" "What clients wanted beyond a limit.",
        limited_packets: Counter "tidegate_limited_total" "limit=\"packets_per_s\"" "What went beyond a limit of its client's class; of a rate, pauses and refusals.",
        limited_publications: Counter "tidegate_limited_total" "limit=\"publish_per_s\"" "What went beyond a limit of its client's class; of a rate, pauses and refusals.",
        limited_bytes: Counter "tidegate_limited_total" "limit=\"publish_bytes_per_s\"" "What went beyond a limit of its client's class; of a rate, pauses and refusals.",
        limited_subscriptions: Counter "tidegate_limited_total" "limit=\"subscriptions_per_session\"" "What went beyond a limit of its client's class; of a rate, pauses and refusals.",
        limited_groups: Counter "tidegate_limited_total" "limit=\"groups_per_topic\"" "What went beyond a limit of its client's class; of a rate, pauses and refusals.",
        limited_filters: Counter "tidegate_limited_total" "limit=\"filters_per_subscribe\"" "What went beyond a limit of its client's class; of a rate, pauses and refusals.",
        limited_steps: Counter "tidegate_limited_total" "limit=\"match_steps\"" "What went beyond a limit of its client's class; of a rate, pauses and refusals.",
        limited_topic: Counter "tidegate_limited_total" "limit=\"topic\"" "What went beyond a limit of its client's class; of a rate, pauses and refusals.",
        limited_connections_per_user: Counter "tidegate_limited_total" "limit=\"connections_per_user\"" "What went beyond a limit of its client's class; of a rate, pauses and refusals.",
        denied_publish_no_rule: Counter "tidegate_denied_total" "action=\"publish\",reason=\"no_rule\"" "What clients wanted and had no right to.",
        denied_publish_rule: Counter "tidegate_denied_total" "action=\"publish\",reason=\"rule\"" "What clients wanted and had no right to.",
        denied_publish_qos: Counter "tidegate_denied_total" "action=\"publish\",reason=\"qos\"" "What clients wanted and had no right to.",
        denied_publish_retain: Counter "tidegate_denied_total" "action=\"publish\",reason=\"retain\"" "What clients wanted and had no right to.",
        denied_publish_claims: Counter "tidegate_denied_total" "action=\"publish\",reason=\"claims\"" "What clients wanted and had no right to.",
        denied_subscribe_no_rule: Counter "tidegate_denied_total" "action=\"subscribe\",reason=\"no_rule\"" "What clients wanted and had no right to.",
        denied_subscribe_rule: Counter "tidegate_denied_total" "action=\"subscribe\",reason=\"rule\"" "What clients wanted and had no right to.",
        denied_subscribe_claims: Counter "tidegate_denied_total" "action=\"subscribe\",reason=\"claims\"" "What clients wanted and had no right to.",
        denied_will_no_rule: Counter "tidegate_denied_total" "action=\"will\",reason=\"no_rule\"" "What clients wanted and had no right to.",
        denied_will_rule: Counter "tidegate_denied_total" "action=\"will\",reason=\"rule\"" "What clients wanted and had no right to.",
        denied_will_qos: Counter "tidegate_denied_total" "action=\"will\",reason=\"qos\"" "What clients wanted and had no right to.",
        denied_will_retain: Counter "tidegate_denied_total" "action=\"will\",reason=\"retain\"" "What clients wanted and had no right to.",
        denied_will_claims: Counter "tidegate_denied_total" "action=\"will\",reason=\"claims\"" "What clients wanted and had no right to.",
        shared_returned: Counter "tidegate_shared_returned_total" "" "Messages whose receiver left its shared group, given back to the group.",
        timeouts_keep_alive: Counter "tidegate_timeouts_total" "wait=\"keep_alive\"" "Connections ended because a client was silent for too long, or slow with a packet.",
        timeouts_packet: Counter "tidegate_timeouts_total" "wait=\"packet\"" "Connections ended because a client was silent for too long, or slow with a packet.",
        resumes_exact: Counter "tidegate_resumes_total" "answer=\"exact\"" "Clients that came back with a position, by what they were told.",
        resumes_truncated: Counter "tidegate_resumes_total" "answer=\"truncated\"" "Clients that came back with a position, by what they were told.",
        resumes_refused: Counter "tidegate_resumes_total" "answer=\"refused\"" "Clients that came back with a position, by what they were told.",
        resumes_interrupted: Counter "tidegate_resumes_interrupted_total" "" "Connections ended because something was gone that their client was to have.",
        positions_advanced: Counter "tidegate_positions_advanced_total" "" "Positions shown without a message.",
        takeovers: Counter "tidegate_takeovers_total" "" "Connections ended because their client connected again.",
        sessions_lost: Counter "tidegate_sessions_lost_total" "" "Sessions dropped because the store knows another owner: this gateway was cut off, frozen, or overtaken.",
        cut_revoked: Counter "tidegate_connections_cut_total" "reason=\"revoked\"" "Connections ended because their client may not be here any more.",
        cut_banned: Counter "tidegate_connections_cut_total" "reason=\"banned\"" "Connections ended because their client may not be here any more.",
        cut_by_operator: Counter "tidegate_connections_cut_total" "reason=\"operator\"" "Connections ended because their client may not be here any more.",
        events_published: Counter "tidegate_lifecycle_events_total" "" "Lifecycle events of clients that were published, because somebody subscribes to them.",
        wills_published: Counter "tidegate_wills_published_total" "" "Wills published.",
        wills_parked: Counter "tidegate_wills_parked_total" "" "Wills that began to wait for their delay.",
        wills_cancelled: Counter "tidegate_wills_cancelled_total" "" "Wills cancelled because their client came back or moved.",
    }
}

counters! {
    /// What the process counts beside its workers: committer, peer links, drain.
    pub struct ProcessCounters {
        commits: Counter "tidegate_commits_total" "" "Store transactions committed.",
        commit_messages: Counter "tidegate_commit_messages_total" "" "Messages made durable by those transactions.",
        commit_nanoseconds: SummaryNanoseconds "tidegate_commit_seconds" "" "Time spent in committed transactions.",
        commit_timings: SummaryCount "tidegate_commit_seconds" "" "Time spent in committed transactions.",
        commit_failures: Counter "tidegate_commit_failures_total" "" "Store transactions that failed.",
        store_writable: Gauge "tidegate_store_writable" "" "1 while the store takes what it is given, 0 since it refused a transaction.",
        store_refused_full: Counter "tidegate_store_refused_total" "reason=\"full\"" "Store transactions that failed, by reason.",
        store_refused_io: Counter "tidegate_store_refused_total" "reason=\"io\"" "Store transactions that failed, by reason.",
        store_refused_busy: Counter "tidegate_store_refused_total" "reason=\"busy\"" "Store transactions that failed, by reason.",
        store_refused_other: Counter "tidegate_store_refused_total" "reason=\"other\"" "Store transactions that failed, by reason.",
        store_checkpoints: Counter "tidegate_store_checkpoints_total" "" "Times that the store moved its log of changes to its place.",
        store_checkpoint_pages: Counter "tidegate_store_checkpoint_pages_total" "" "Pages of 8 KiB that were moved then.",
        store_held_nanoseconds: SummaryNanoseconds "tidegate_store_checkpoint_held_seconds" "" "Time that housekeeping of the store held commits up.",
        store_held_times: SummaryCount "tidegate_store_checkpoint_held_seconds" "" "Time that housekeeping of the store held commits up.",
        store_trimmed_rows: Counter "tidegate_store_trimmed_total" "" "Publications and commits that nobody needs any more, deleted by this gateway.",
        shadow_tombstones: Counter "tidegate_shadow_tombstones_total" "" "Tombstones of deleted shadows whose time was over, taken out of the store by this gateway.",
        store_freed_pages: Counter "tidegate_store_freed_pages_total" "" "Pages of 8 KiB that the store gave back to the disk.",
        store_file_bytes: Gauge "tidegate_store_file_bytes" "" "Length of the store's database, without its log of changes.",
        store_free_bytes: Gauge "tidegate_store_free_bytes" "" "Bytes of the store's database that hold nothing.",
        forwards_sent: Counter "tidegate_forwards_sent_total" "" "Publications sent over peer links.",
        forwards_received: Counter "tidegate_forwards_received_total" "" "Publications received over peer links.",
        forwards_duplicate: Counter "tidegate_forwards_duplicate_total" "" "Publications received again over peer links, and ignored.",
        forwards_dropped: Counter "tidegate_forwards_dropped_total" "" "Publications that found a peer link's queue full, or at QoS 2 were for a shared group and may have begun at a gateway that was begun anew; owners re-read theirs from the store.",
        forwards_not_taken: Counter "tidegate_forwards_not_taken_total" "" "Publications from peers that a worker's full mailbox did not take.",
        peer_connections_refused: Counter "tidegate_peer_connections_refused_total" "" "Connections of peer links refused: a wrong certificate, a wrong greeting, a frame that is not allowed.",
        bans: Gauge "tidegate_bans" "" "Bans of the fleet that operators have set.",
        match_steps: Gauge "tidegate_match_steps" "" "Steps that matching one topic takes at most.",
        peers_up: Gauge "tidegate_peers_up" "" "Peer links that are open.",
        turned_away_handshakes: Counter "tidegate_connections_turned_away_total" "reason=\"handshakes\"" "New connections that there was no room for, or no right to, before their CONNECT was looked at.",
        turned_away_address_handshakes: Counter "tidegate_connections_turned_away_total" "reason=\"address_handshakes\"" "New connections that there was no room for, or no right to, before their CONNECT was looked at.",
        turned_away_rate: Counter "tidegate_connections_turned_away_total" "reason=\"rate\"" "New connections that there was no room for, or no right to, before their CONNECT was looked at.",
        turned_away_address_rate: Counter "tidegate_connections_turned_away_total" "reason=\"address_rate\"" "New connections that there was no room for, or no right to, before their CONNECT was looked at.",
        turned_away_connections: Counter "tidegate_connections_turned_away_total" "reason=\"connections\"" "New connections that there was no room for, or no right to, before their CONNECT was looked at.",
        turned_away_listener_connections: Counter "tidegate_connections_turned_away_total" "reason=\"listener_connections\"" "New connections that there was no room for, or no right to, before their CONNECT was looked at.",
        turned_away_address_connections: Counter "tidegate_connections_turned_away_total" "reason=\"address_connections\"" "New connections that there was no room for, or no right to, before their CONNECT was looked at.",
        turned_away_proxy: Counter "tidegate_connections_turned_away_total" "reason=\"proxy\"" "New connections that there was no room for, or no right to, before their CONNECT was looked at.",
        turned_away_banned: Counter "tidegate_connections_turned_away_total" "reason=\"banned\"" "New connections that there was no room for, or no right to, before their CONNECT was looked at.",
        turned_away_descriptors: Counter "tidegate_connections_turned_away_total" "reason=\"descriptors\"" "New connections that there was no room for, or no right to, before their CONNECT was looked at.",
        handshakes_expired: Counter "tidegate_handshakes_failed_total" "reason=\"expired\"" "TLS handshakes of clients that failed.",
        handshakes_not_yet_valid: Counter "tidegate_handshakes_failed_total" "reason=\"not_yet_valid\"" "TLS handshakes of clients that failed.",
        handshakes_revoked: Counter "tidegate_handshakes_failed_total" "reason=\"revoked\"" "TLS handshakes of clients that failed.",
        handshakes_wrong_usage: Counter "tidegate_handshakes_failed_total" "reason=\"wrong_usage\"" "TLS handshakes of clients that failed.",
        handshakes_unknown_authority: Counter "tidegate_handshakes_failed_total" "reason=\"unknown_authority\"" "TLS handshakes of clients that failed.",
        handshakes_no_certificate: Counter "tidegate_handshakes_failed_total" "reason=\"no_certificate\"" "TLS handshakes of clients that failed.",
        handshakes_not_tls: Counter "tidegate_handshakes_failed_total" "reason=\"not_tls\"" "TLS handshakes of clients that failed.",
        handshakes_client_refused: Counter "tidegate_handshakes_failed_total" "reason=\"client_refused\"" "TLS handshakes of clients that failed.",
        handshakes_incompatible: Counter "tidegate_handshakes_failed_total" "reason=\"incompatible\"" "TLS handshakes of clients that failed.",
        handshakes_other: Counter "tidegate_handshakes_failed_total" "reason=\"other\"" "TLS handshakes of clients that failed.",
        http_displaced: Counter "tidegate_http_displaced_total" "" "Connections to the API that gave way to later ones.",
        http_revoked: Counter "tidegate_http_cut_total" "reason=\"revoked\"" "Connections to the API ended because their certificate was revoked.",
        feeds_read: Counter "tidegate_http_feeds_total" "outcome=\"read\"" "Requests for calendars with a token in their address.",
        feeds_unknown: Counter "tidegate_http_feeds_total" "outcome=\"unknown\"" "Requests for calendars with a token in their address.",
        feeds_too_often: Counter "tidegate_http_feeds_total" "outcome=\"too_often\"" "Requests for calendars with a token in their address.",
        device_http_connections: Gauge "tidegate_device_http_connections" "" "Open connections of devices by HTTPS.",
        device_http_revoked: Counter "tidegate_device_http_cut_total" "reason=\"revoked\"" "Connections of devices by HTTPS that the gateway has cut.",
        device_http_stalled: Counter "tidegate_device_http_cut_total" "reason=\"stalled\"" "Connections of devices by HTTPS that the gateway has cut.",
        pauses_checkpoint: Counter "tidegate_maintenance_pauses_total" "work=\"checkpoint\",slot=\"held\"" "Work of seconds that this gateway has done, with a micro slot or alone since there was none for too long.",
        alone_checkpoint: Counter "tidegate_maintenance_pauses_total" "work=\"checkpoint\",slot=\"none\"" "Work of seconds that this gateway has done, with a micro slot or alone since there was none for too long.",
        pauses_vacuum: Counter "tidegate_maintenance_pauses_total" "work=\"vacuum\",slot=\"held\"" "Work of seconds that this gateway has done, with a micro slot or alone since there was none for too long.",
        pauses_certificates: Counter "tidegate_maintenance_pauses_total" "work=\"certificates\",slot=\"held\"" "Work of seconds that this gateway has done, with a micro slot or alone since there was none for too long.",
        alone_certificates: Counter "tidegate_maintenance_pauses_total" "work=\"certificates\",slot=\"none\"" "Work of seconds that this gateway has done, with a micro slot or alone since there was none for too long.",
        pauses_refused: Counter "tidegate_maintenance_pauses_refused_total" "" "Times that there was no micro slot for this gateway when it asked.",
        pauses_left: Counter "tidegate_maintenance_pauses_left_total" "" "Micro slots of gateways that are gone, freed by this one.",
        reloads_applied: Counter "tidegate_reload_total" "result=\"applied\"" "Files that were read again, by result.",
        reloads_failed: Counter "tidegate_reload_total" "result=\"failed\"" "Files that were read again, by result.",
        scheduler: Gauge "tidegate_maintenance_scheduler" "" "1 while this gateway is the fleet's scheduler of maintenance.",
        scheduler_terms: Counter "tidegate_maintenance_scheduler_terms_total" "" "Times that this gateway became the fleet's scheduler of maintenance.",
        planned_visits: Gauge "tidegate_maintenance_planned_visits" "" "Visits that have a place in the plan that this gateway made last as the scheduler.",
        late_visits: Gauge "tidegate_maintenance_late_visits" "" "Those of them that are over after their deadline.",
        plan_makespan: Gauge "tidegate_maintenance_plan_makespan_seconds" "" "Seconds from now to the end of the last visit in it.",
        plan_gap: GaugeThousandths "tidegate_maintenance_plan_gap_ratio" "" "How much longer that is than any plan must be, as a part of that; 0 is as good as can be.",
        deadline_at_risk: Gauge "tidegate_maintenance_deadline_at_risk" "" "Visits with a deadline that the plan does not keep: over after it, or without a place.",
        plan_churn: Gauge "tidegate_maintenance_plan_churn" "" "Visits of the plan published before that stand elsewhere in it.",
        slot_age: Gauge "tidegate_maintenance_slot_age_max_seconds" "" "Age of the oldest of them, in seconds.",
        needs_certificate: Gauge "tidegate_maintenance_needs" "kind=\"certificate\"" "What this gateway needs of its operators, by kind.",
        needs_restart: Gauge "tidegate_maintenance_needs" "kind=\"restart\"" "What this gateway needs of its operators, by kind.",
        needs_upgrade: Gauge "tidegate_maintenance_needs" "kind=\"upgrade\"" "What this gateway needs of its operators, by kind.",
        needs_reboot: Gauge "tidegate_maintenance_needs" "kind=\"reboot\"" "What this gateway needs of its operators, by kind.",
        unplanned_down: Gauge "tidegate_maintenance_unplanned_down" "" "Gateways that do not serve and hold no slot, as the scheduler sees it; 0 in other gateways.",
        unplanned_visits: Gauge "tidegate_maintenance_unplanned_visits" "" "Visits that have no place in it.",
        failure_budget_left: Gauge "tidegate_maintenance_failure_budget_left" "" "Visits that may fail before policies let nothing begin any more, as the scheduler sees it; 0 in other gateways.",
        glasses_broken: Counter "tidegate_maintenance_break_glass_total" "" "Times that an operator took every right for a while, asked of this gateway.",
        changes_forbidden: Counter "tidegate_http_forbidden_changes_total" "" "Changes that were refused since the operator had no role for them.",
        queries_answered: Counter "tidegate_maintenance_queries_total" "result=\"answered\"" "Queries of gates that this gateway, as the scheduler, has asked Prometheus, by result.",
        queries_unanswered: Counter "tidegate_maintenance_queries_total" "result=\"unanswered\"" "Queries of gates that this gateway, as the scheduler, has asked Prometheus, by result.",
        notices_told: Counter "tidegate_maintenance_notices_total" "" "What has come of visits, published over MQTT by this gateway as the scheduler.",
        audit_entries: Gauge "tidegate_maintenance_audit_entries" "" "Entries of the audit that are kept, as the scheduler sees it; 0 in other gateways.",
        audit_folded: Counter "tidegate_maintenance_audit_folded_total" "" "Entries of the audit that this gateway, as the scheduler, has folded behind the checkpoint.",
        webhook_told: Counter "tidegate_maintenance_webhook_told_total" "" "Entries of the audit that the webhook has taken from this gateway.",
        webhook_failures: Counter "tidegate_maintenance_webhook_failures_total" "" "Times that the webhook did not take an entry, which is sent again.",
        webhook_dropped: Counter "tidegate_maintenance_webhook_dropped_total" "" "Entries of the audit that the webhook is never told, since too many waited.",
        webhook_waiting: Gauge "tidegate_maintenance_webhook_waiting" "" "Entries of the audit that wait for the webhook, as this gateway saw last.",
        visits_despite: Counter "tidegate_maintenance_visits_despite_total" "" "Visits that an operator with a broken glass had begun despite blockers and windows, asked of this gateway.",
        visits_begun: Counter "tidegate_maintenance_visits_begun_total" "" "Visits of the plan that this gateway, as the scheduler, has begun.",
        visits_over: Counter "tidegate_maintenance_visits_over_total" "" "Visits of this gateway that are over, however they ended.",
        visit_overruns_50: Bucket "tidegate_maintenance_visit_overrun_ratio" "le=\"0.5\"" "How long a visit of this gateway took that did all it should, as a multiple of what was reckoned with.",
        visit_overruns_75: Bucket "tidegate_maintenance_visit_overrun_ratio" "le=\"0.75\"" "How long a visit of this gateway took that did all it should, as a multiple of what was reckoned with.",
        visit_overruns_100: Bucket "tidegate_maintenance_visit_overrun_ratio" "le=\"1\"" "How long a visit of this gateway took that did all it should, as a multiple of what was reckoned with.",
        visit_overruns_125: Bucket "tidegate_maintenance_visit_overrun_ratio" "le=\"1.25\"" "How long a visit of this gateway took that did all it should, as a multiple of what was reckoned with.",
        visit_overruns_150: Bucket "tidegate_maintenance_visit_overrun_ratio" "le=\"1.5\"" "How long a visit of this gateway took that did all it should, as a multiple of what was reckoned with.",
        visit_overruns_200: Bucket "tidegate_maintenance_visit_overrun_ratio" "le=\"2\"" "How long a visit of this gateway took that did all it should, as a multiple of what was reckoned with.",
        visit_overruns_400: Bucket "tidegate_maintenance_visit_overrun_ratio" "le=\"4\"" "How long a visit of this gateway took that did all it should, as a multiple of what was reckoned with.",
        visit_overruns_all: Bucket "tidegate_maintenance_visit_overrun_ratio" "le=\"+Inf\"" "How long a visit of this gateway took that did all it should, as a multiple of what was reckoned with.",
        visit_overruns_sum: HistogramThousandths "tidegate_maintenance_visit_overrun_ratio" "" "How long a visit of this gateway took that did all it should, as a multiple of what was reckoned with.",
        visit_overruns: HistogramCount "tidegate_maintenance_visit_overrun_ratio" "" "How long a visit of this gateway took that did all it should, as a multiple of what was reckoned with.",
        visit_took_ms: CounterThousandths "tidegate_maintenance_visit_seconds_total" "" "How long those visits took, together.",
        visit_estimated_ms: CounterThousandths "tidegate_maintenance_visit_estimated_seconds_total" "" "How long they would have taken as was reckoned with, together.",
        visits_paged: Counter "tidegate_maintenance_visits_asking_total" "" "Times that a visit of this gateway came to where an operator has to decide.",
        visits_asking: Gauge "tidegate_maintenance_visits_asking" "" "Visits that wait for an operator's decision, as the scheduler sees it; 0 elsewhere.",
        window_overruns: Counter "tidegate_maintenance_window_overrun_total" "" "Times that a visit of this gateway before its point of no return, or a drain by a window of its configuration, was not over a minute after the end of its window.",
        works_done: Counter "tidegate_maintenance_works_total" "result=\"done\"" "Works of visits that this gateway has carried out, by result.",
        works_failed: Counter "tidegate_maintenance_works_total" "result=\"failed\"" "Works of visits that this gateway has carried out, by result.",
        visits_warming_refused: Counter "tidegate_maintenance_warming_refused_total" "" "Clients that were sent to another gateway because this one had just begun to take clients again after a visit.",
        drain_held_back: Counter "tidegate_drain_held_back_total" "" "Times that a client was not moved yet because other members of its shared group had just gone.",
        drain_bounced: Counter "tidegate_drain_bounce_total" "" "CONNECTs of clients that came back to this gateway although it had refused them and sent them elsewhere, since it last took everybody.",
        drain_taken_in: Counter "tidegate_drain_taken_in_total" "" "Clients that were let in during a drain because they had come back twice.",
        drain_granted: Counter "tidegate_drain_credits_total" "fate=\"granted\"" "Clients that receivers let our drains move.",
        drain_used: Counter "tidegate_drain_credits_total" "fate=\"used\"" "Clients that receivers let our drains move.",
        drain_lapsed: Counter "tidegate_drain_credits_total" "fate=\"lapsed\"" "Clients that receivers let our drains move.",
        drain_accept_per_s: Gauge "tidegate_drain_accept_per_second" "" "Clients per second that this gateway takes from drains of others now.",
        drain_promised: Counter "tidegate_drain_promised_total" "" "Clients that were granted to other gateways' drains, whether they came or not.",
        handoff_gone: Counter "tidegate_drain_handoff_fail_total" "code=\"gone\"" "Hand-overs that did not go as they should: there was no client any more (gone), the store did not take its last write, which is tried again (store), or somebody else had the session by then (taken).",
        handoff_store: Counter "tidegate_drain_handoff_fail_total" "code=\"store\"" "Hand-overs that did not go as they should: there was no client any more (gone), the store did not take its last write, which is tried again (store), or somebody else had the session by then (taken).",
        handoff_taken: Counter "tidegate_drain_handoff_fail_total" "code=\"taken\"" "Hand-overs that did not go as they should: there was no client any more (gone), the store did not take its last write, which is tried again (store), or somebody else had the session by then (taken).",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_sums_over_workers() {
        let metrics = Metrics::new(2);
        metrics.worker(0).unwrap().count_publication(1);
        metrics.worker(1).unwrap().count_publication(1);
        metrics.worker(1).unwrap().count_deliveries(2, 5);
        assert!(metrics.worker(2).is_none());
        let text = metrics.render();
        assert!(text.contains("tidegate_publications_received_total{qos=\"1\"} 2\n"), "{text}");
        assert!(text.contains("tidegate_deliveries_total{qos=\"2\"} 5\n"), "{text}");
        assert_eq!(metrics.sum(|worker| &worker.publications_qos1), 2);
    }

    #[test]
    fn every_family_has_its_type_exactly_once() {
        let text = Metrics::new(1).render();
        let mut families: Vec<_> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let before = families.len();
        families.sort_unstable();
        families.dedup();
        assert_eq!(families.len(), before);
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            assert!(line.starts_with("tidegate_"), "{line}");
            assert!(line.rsplit_once(' ').unwrap().1.parse::<f64>().is_ok(), "{line}");
        }
    }

    #[test]
    fn violations_are_counted_by_statement_over_workers_and_process() {
        let metrics = Metrics::new(2);
        for worker in metrics.workers() {
            worker.violations.count("MQTT5-3.1.0-2");
        }
        metrics.process().violations.count("MQTT5-3.1.0-2");
        metrics.process().violations.count("MQTT5-3.1.2-3");
        let text = metrics.render();
        let of = |statement, count| {
            format!("tidegate_violations_total{{statement=\"{statement}\"}} {count}\n")
        };
        assert!(text.contains(&of("MQTT5-3.1.0-2", 3)), "{text}");
        assert!(text.contains(&of("MQTT5-3.1.2-3", 1)), "{text}");
    }

    #[test]
    fn a_visit_is_counted_by_how_much_longer_it_took_than_was_reckoned_with() {
        let metrics = Metrics::new(0);
        let seconds = std::time::Duration::from_secs;
        for (took, estimated) in [(30, 60), (75, 60), (600, 60), (5, 0)] {
            metrics.process().count_visit(seconds(took), seconds(estimated));
        }
        let text = metrics.render();
        let name = "tidegate_maintenance_visit_overrun_ratio";
        for (bound, count) in [("0.5", 1), ("1", 1), ("1.25", 2), ("4", 2), ("+Inf", 3)] {
            let line = format!("{name}_bucket{{le=\"{bound}\"}} {count}\n");
            assert!(text.contains(&line), "{line} in {text}");
        }
        // 0.5, 1.25 and 10; with the fourth nothing was reckoned.
        assert!(text.contains(&format!("{name}_sum 11.750\n{name}_count 3\n")), "{text}");
        assert!(text.contains("tidegate_maintenance_visit_seconds_total 705.000\n"), "{text}");
        assert!(text.contains("visit_estimated_seconds_total 180.000\n"), "{text}");
    }

    #[test]
    fn a_gauge_goes_down_again() {
        let metrics = Metrics::new(1);
        let worker = metrics.worker(0).unwrap();
        worker.connections.add(3);
        worker.connections.sub(2);
        assert!(metrics.render().contains("\ntidegate_connections 1\n"));
    }

    #[test]
    fn time_in_commits_is_shown_in_seconds() {
        let metrics = Metrics::new(0);
        metrics.process().count_commit(7, 1_500_000_000);
        let text = metrics.render();
        assert!(text.contains("tidegate_commit_seconds_sum 1.500000000\n"), "{text}");
        assert!(text.contains("tidegate_commit_seconds_count 1\n"), "{text}");
        assert!(text.contains("tidegate_commit_messages_total 7\n"), "{text}");
    }
}
