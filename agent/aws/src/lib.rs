//! Makes AWS what the plan says, and tells the agent what AWS is.
