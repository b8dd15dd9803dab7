//! A plugin for Nemo applications that joins the event bus of a nemo-bridge sidecar.
