//! The cores of a worker with a store in memory, the follower of its log, and sockets that only remember.

mod absences;
mod authenticate;
mod bans;
mod claim;
mod cost;
mod deliver;
mod detach;
mod gate;
mod gateway;
mod owing;
mod pace;
mod packets;
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
