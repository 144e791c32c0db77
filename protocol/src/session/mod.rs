//! A client's state that outlives its connections, and how packets change it.
