//! What servers say of their commands, beside the decisions.
