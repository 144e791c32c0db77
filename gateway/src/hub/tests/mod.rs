//! The cores of a worker with a store in memory, the follower of its log, and sockets that only remember.

mod absences;
mod authenticate;
mod bans;
mod claim;
mod cost;
mod deliver;
mod detach;
mod errands;
mod gate;
pub(crate) mod gateway;
mod owing;
mod pace;
pub(crate) mod packets;
mod positions;
mod post;
mod presence;
mod publish;
mod queues;
mod release;
mod rights;
mod shadows;
mod shared;
mod sockets;
mod subscribe;
mod turns;
mod voice;
mod wills;
