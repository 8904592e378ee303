//! The fields of `process` that say when and where it runs.

use serde_json::Value;

use super::{Check, given};
use crate::linux::bits::Bits;

const POLICIES: [&str; 7] =
    ["SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE", "SCHED_DEADLINE"];
/// As the specification writes them, with what `oci_spec` calls them.
const SCHEDULER_FLAGS: [(&str, &str); 7] = [
    ("SCHED_FLAG_RESET_ON_FORK", "SCHED_RESET_ON_FORK"),
    ("SCHED_FLAG_RECLAIM", "SCHED_FLAG_RECLAIM"),
    ("SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_D_L_OVERRUN"),
    ("SCHED_FLAG_KEEP_POLICY", "SCHED_FLAG_KEEP_POLICY"),
    ("SCHED_FLAG_KEEP_PARAMS", "SCHED_FLAG_KEEP_PARAMS"),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", "SCHED_FLAG_UTIL_CLAMP_MIN"),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", "SCHED_FLAG_UTIL_CLAMP_MAX"),
];
const IO_CLASSES: [&str; 3] = ["IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"];

impl Check<'_> {
    pub(super) fn scheduling(&mut self) {
        if given(self.get("process.commandLine")) {
            self.problem("process.commandLine", "belongs to Windows; use process.args");
        }
        self.scheduler();
        self.io_priority();
        for which in ["initial", "final"] {
            let field = format!("process.execCPUAffinity.{which}");
            if let Err(error) = self.text(&field).parse::<Bits>() {
                self.problem(&field, error);
            }
        }
    }

    fn scheduler(&mut self) {
        if !self.get("process.scheduler").is_object() {
            return;
        }
        let policy = self.text("process.scheduler.policy");
        self.one_of("process.scheduler.policy", &POLICIES);
        self.within("process.scheduler.nice", -20, 19);
        self.within("process.scheduler.priority", 0, 99);
        let realtime = ["SCHED_FIFO", "SCHED_RR"].contains(&policy);
        match self.get("process.scheduler.priority").as_i64().unwrap_or(0) {
            0 if realtime => {
                self.problem("process.scheduler.priority", format!("missing or 0: {policy} needs one from 1 to 99"));
            }
            1.. if !realtime => {
                self.problem("process.scheduler.priority", "only for SCHED_FIFO and SCHED_RR; remove it")
            }
            _ => {}
        }
        for time in ["runtime", "deadline", "period"] {
            let field = format!("process.scheduler.{time}");
            if policy != "SCHED_DEADLINE" && self.get(&field).as_u64().unwrap_or(0) != 0 {
                self.problem(&field, "only for SCHED_DEADLINE; remove it");
            }
        }
        match policy {
            "SCHED_ISO" => {
                self.problem("process.scheduler.policy", "no kernel has SCHED_ISO; use another, or remove it")
            }
            "SCHED_DEADLINE" => self.deadline(),
            _ => {}
        }
        let names = SCHEDULER_FLAGS.map(|(name, _)| name);
        self.all_of("process.scheduler.flags", &names);
    }

    /// What sched(7) demands of the three times, for which the kernel has one error number.
    fn deadline(&mut self) {
        /// The kernel's own clock is not finer.
        const LEAST: u64 = 1024;
        let [runtime, deadline, period] = ["runtime", "deadline", "period"]
            .map(|time| self.get(&format!("process.scheduler.{time}")).as_u64().unwrap_or(0));
        if runtime < LEAST {
            let problem = format!("missing or too short: SCHED_DEADLINE needs {LEAST} ns or more");
            self.problem("process.scheduler.runtime", problem);
        }
        if deadline < runtime.max(1) {
            self.problem("process.scheduler.deadline", "missing or shorter than runtime");
        }
        if (1..deadline).contains(&period) {
            self.problem("process.scheduler.period", "shorter than deadline");
        }
    }

    fn io_priority(&mut self) {
        if !self.get("process.ioPriority").is_object() {
            return;
        }
        self.one_of("process.ioPriority.class", &IO_CLASSES);
        self.numbers("process.ioPriority", self.get("process.ioPriority"), &["priority"]);
        self.within("process.ioPriority.priority", 0, 7);
    }

    /// The text at `field` is one of these.
    pub(super) fn one_of(&mut self, field: &str, known: &[&str]) {
        match self.text(field) {
            "" => self.problem(field, format!("missing or empty: use one of {}", known.join(", "))),
            text if known.contains(&text) => {}
            text => self.problem(field, format!("unknown value {text:?}, use one of {}", known.join(", "))),
        }
    }

    /// Every text of the list at `field` is one of these.
    pub(super) fn all_of(&mut self, field: &str, known: &[&str]) {
        for (index, text) in self.list(field).iter().enumerate() {
            if !text.as_str().is_some_and(|text| known.contains(&text)) {
                self.problem(&format!("{field}[{index}]"), format!("unknown value {text}, use {}", known.join(", ")));
            }
        }
    }

    fn within(&mut self, field: &str, least: i64, most: i64) {
        if let Some(number) = self.get(field).as_i64()
            && !(least..=most).contains(&number)
        {
            self.problem(field, format!("{number} is not within {least} to {most}"));
        }
    }
}

/// Writes a checked process as `oci_spec` reads it, where it does not read what the specification says. Whether that changed it.
pub(super) fn adapt(process: &mut Value) -> bool {
    let mut changed = false;
    if let Some(process) = process.as_object_mut().filter(|process| process.get("user").is_none_or(Value::is_null)) {
        // As runc: root, in a container whose configuration says nothing.
        process.insert("user".to_owned(), serde_json::json!({ "uid": 0, "gid": 0 }));
        changed = true;
    }
    for flag in process.pointer_mut("/scheduler/flags").and_then(Value::as_array_mut).into_iter().flatten() {
        let other = SCHEDULER_FLAGS.iter().find(|(name, other)| flag == name && name != other);
        if let Some((_, other)) = other {
            (*flag, changed) = (Value::from(*other), true);
        }
    }
    if let Some(affinity) = process.get_mut("execCPUAffinity").and_then(Value::as_object_mut) {
        // Empty is as good as left out, and spaces are for people.
        for list in ["initial", "final"] {
            match affinity.get(list).and_then(Value::as_str).map(|list| list.replace(' ', "")) {
                Some(text) if text.is_empty() => changed |= affinity.remove(list).is_some(),
                Some(text) if affinity[list] != text => (affinity[list], changed) = (text.into(), true),
                _ => {}
            }
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{refused, with};

    #[track_caller]
    fn says(pointer: &str, value: serde_json::Value, words: &str) {
        let error = refused(pointer, value);
        assert!(error.lines().any(|line| line.trim_start().starts_with(words)), "{error}");
    }

    #[test]
    fn who_says_nothing_of_a_user_means_root() {
        let (spec, warnings) = with("/process/user", serde_json::Value::Null).unwrap();
        let user = spec.process().as_ref().unwrap().user().clone();
        assert_eq!((user.uid(), user.gid(), warnings), (0, 0, vec![]));
    }

    #[test]
    fn a_command_line_belongs_to_windows() {
        says("/process/commandLine", json!("sh -c x"), "process.commandLine: belongs to Windows");
        with("/process/commandLine", json!("")).unwrap();
    }

    #[test]
    fn a_scheduler_that_cannot_be_is_refused_by_its_field() {
        let at = "/process/scheduler";
        for (value, words) in [
            (json!({}), "process.scheduler.policy: missing or empty: use one of SCHED_OTHER"),
            (json!({"policy": "SCHED_X"}), "process.scheduler.policy: unknown value \"SCHED_X\""),
            (json!({"policy": "SCHED_OTHER", "nice": 20}), "process.scheduler.nice: 20 is not within -20 to 19"),
            (json!({"policy": "SCHED_OTHER", "priority": 1}), "process.scheduler.priority: only for SCHED_FIFO"),
            (json!({"policy": "SCHED_RR"}), "process.scheduler.priority: missing or 0: SCHED_RR"),
            (json!({"policy": "SCHED_RR", "priority": 100}), "process.scheduler.priority: 100 is not within 0 to 99"),
            (json!({"policy": "SCHED_BATCH", "period": 5}), "process.scheduler.period: only for SCHED_DEADLINE"),
            (json!({"policy": "SCHED_BATCH", "flags": ["X"]}), "process.scheduler.flags[0]: unknown value \"X\""),
        ] {
            says(at, value, words);
        }
    }

    #[test]
    fn every_scheduler_flag_of_the_specification_is_read() {
        let flags = super::SCHEDULER_FLAGS.map(|(name, _)| name);
        let scheduler =
            json!({"policy": "SCHED_DEADLINE", "flags": flags, "runtime": 1024, "deadline": 2048, "period": 4096});
        let (spec, _) = with("/process/scheduler", scheduler).unwrap();
        let scheduler = spec.process().as_ref().unwrap().scheduler().clone().unwrap();
        assert_eq!(scheduler.flags().as_ref().unwrap().len(), flags.len());
    }

    #[test]
    fn an_io_priority_that_cannot_be_is_refused_by_its_field() {
        let at = "/process/ioPriority";
        says(at, json!({"priority": 1}), "process.ioPriority.class: missing");
        says(at, json!({"class": "IOPRIO_CLASS_BE"}), "process.ioPriority.priority: missing");
        says(at, json!({"class": "BE", "priority": 1}), "process.ioPriority.class: unknown value \"BE\"");
        says(
            at,
            json!({"class": "IOPRIO_CLASS_BE", "priority": 8}),
            "process.ioPriority.priority: 8 is not within 0 to 7",
        );
    }

    #[test]
    fn lists_of_cpus_may_be_empty_or_have_spaces_and_nothing_else() {
        let (spec, _) = with("/process/execCPUAffinity", json!({"initial": "", "final": "0, 2-3"})).unwrap();
        let affinity = spec.process().as_ref().unwrap().exec_cpu_affinity().clone().unwrap();
        assert_eq!((affinity.initial(), affinity.cpu_affinity_final().as_deref()), (&None, Some("0,2-3")));
        says(
            "/process/execCPUAffinity",
            json!({"initial": "x"}),
            "process.execCPUAffinity.initial: \"x\" is not a list",
        );
        says("/process/execCPUAffinity", json!({"final": "3-1"}), "process.execCPUAffinity.final: \"3-1\": the range");
    }
}
