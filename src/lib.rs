//! lib
pub mod agent;
pub mod cli;
pub mod desired;
pub mod emit;
pub mod health;
pub mod history;
pub mod host;
pub mod manifest;
pub mod model;
pub mod observed;
pub mod plan;
pub mod policy;
pub mod resource;
pub mod settings;
pub mod source;
pub mod transaction;
