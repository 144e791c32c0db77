//! What letters make a worker do.

use super::Mail;
use super::driver::Worker;
use super::io::Who;
use super::mail::Accepted;
use super::rounds::Stopping;

/// Pieces of work in the letters of one round: what other threads ask for keeps nobody waiting for longer than a client may.
pub(super) const PIECES: usize = 512;

impl Worker {
    /// Reads letters, as many as are their share of a round; the rest is read in the next.
    pub(super) fn read_letters(&mut self) {
        if self.letters.is_empty() {
            self.mailbox.take_awake(&mut self.letters);
            self.letters.reverse();
        }
        if self.letters.is_empty() {
            return;
        }
        // Not before: they were written before this moment, whatever held this thread up meanwhile.
        self.tell_time();
        let mut left = PIECES;
        while left > 0
            && let Some(letter) = self.letters.pop()
        {
            left = left.saturating_sub(letter.pieces());
            self.read_letter(letter);
        }
    }

    fn read_letter(&mut self, letter: Mail) {
        match letter {
            Mail::Accepted(accepted) => self.open(*accepted),
            Mail::Stop => {
                let now = self.now.mono;
                self.stopping.get_or_insert_with(|| Stopping::since(now));
            }
            Mail::Waiting(client, answer) => {
                let _ = answer.send(self.machine.hub().waiting_for(&client));
            }
            Mail::Filters(client, answer) => {
                let _ = answer.send(self.machine.hub().filters_of(&client));
            }
            // Whoever asked may have gone.
            Mail::Clients(answer) => {
                let _ = answer.send(self.clients());
            }
            Mail::Count(answer) => {
                let _ = answer.send(self.held());
            }
            Mail::Settle(settled) => self.settling.push(settled),
            Mail::Revoked(revoked) => self.cut_revoked(revoked),
            Mail::ReleaseAsked(asked) => self.release(asked),
            Mail::Bundle(bundle) => {
                self.machine.handle_bundle(&bundle, self.now, &mut self.io);
                self.io.spare.keep_buffer(bundle.into_buffer());
            }
            letter @ (Mail::Forward(_)
            | Mail::Queued(_)
            | Mail::Answers(_)
            | Mail::Record(..)
            | Mail::Whole(..)
            | Mail::Passed(..)
            | Mail::Interrupted(..)
            | Mail::Unreadable(_)
            | Mail::Superseded(..)
            | Mail::Gone(_)
            | Mail::Gap
            | Mail::Returned(..)
            | Mail::Drops(_)
            | Mail::Fence(_)
            | Mail::Left(..)
            | Mail::Released(..)
            | Mail::Progress(_)
            | Mail::Refreshed(_)
            | Mail::CaughtUp(_)
            | Mail::SessionNumbers(..)
            | Mail::Presence(_)
            | Mail::FireWill(..)
            | Mail::Policy(_)
            | Mail::Settings(_)
            | Mail::Bans(_)
            | Mail::Post(_)
            | Mail::Authenticated(..)
            | Mail::Echo(_)
            | Mail::Shadow(_)
            | Mail::Move(_)) => {
                if matches!(letter, Mail::Progress(_)) {
                    self.listening = false;
                }
                if let Mail::Settings(settings) = &letter {
                    self.outbox_bytes = settings.limits.outbox_bytes as usize;
                    self.io.allow_messages(settings.limits.packet_bytes as usize);
                }
                if let Mail::Answers(answers) = &letter {
                    self.metrics.queue_out_commit.add(answers.len() as u64);
                }
                self.machine.handle_mail(letter, self.now, &mut self.io);
            }
        }
    }

    fn open(&mut self, accepted: Accepted) {
        let Accepted {
            socket,
            layer,
            rest,
            mut owed,
            mut request,
            remote,
            certificate,
            place,
            since,
        } = accepted;
        request.waited = since.elapsed();
        // What stays is memory of this thread, so that the front's is free again when those who come are in.
        request.client = request.client.apart();
        let version = request.version.level();
        let who = Who { remote, certificate, _place: place };
        let Some(conn) = self.io.add((socket, layer, rest), who) else { return };
        self.io.owe(conn, &mut owed);
        let Some(socket) = self.io.socket(conn) else { return };
        if self.readiness.watch(&socket.stream, conn).is_err() {
            self.io.sockets.remove(conn.index as usize);
            return;
        }
        self.metrics.connections_opened.add(1);
        tracing::info!(client_id = request.client.as_str(), %remote, protocol_version = version, "a client has come");
        self.io.follow(conn, &request.client, version);
        self.hear_out(&request.client);
        self.machine.handle_connect(conn, request, self.now, &mut self.io);
        if self.revoked.as_ref().is_some_and(|list| self.io.is_revoked(conn, list)) {
            // The list came while this connection was on its way here.
            self.cut(conn);
        }
    }
}
