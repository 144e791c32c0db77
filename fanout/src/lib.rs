//! Who gets a publication: subscription table, shared groups, retained, neighbour interest.
