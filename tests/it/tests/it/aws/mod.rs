//! The agent on AWS: the built programs against a stand-in of AWS, in which instances and functions are
//! processes too.

mod alarm;
mod cloud;
mod decided;
mod faults;
mod home;
mod machines;
mod storm;
