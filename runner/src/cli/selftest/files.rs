//! The attacks, which are part of the binary.

macro_rules! files {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../../../tests/evil/", $name, ".py")))),+]
    };
}

/// Name and plugin of each attack, by name.
pub(super) const FILES: &[(&str, &str)] = files![
    "code_dlopen",
    "code_jit",
    "code_preload",
    "end_abort",
    "end_exit",
    "end_exit_hook",
    "end_faulthandler",
    "end_kill_group",
    "end_kill_self",
    "end_overwrite",
    "end_segv",
    "end_thread",
    "file_chroot",
    "file_devices",
    "file_execute_dropped",
    "file_hard_link",
    "file_list_root",
    "file_modes",
    "file_neighbours_code",
    "file_neighbours_tmp",
    "file_poison_bytecode",
    "file_proc_root",
    "file_runners_data",
    "file_secret",
    "file_shadow",
    "file_shared_memory",
    "file_stat_hidden",
    "file_symlink",
    "file_write_own_code",
    "file_write_ungranted",
    "kernel_aslr",
    "kernel_handles",
    "kernel_int80",
    "kernel_ipc",
    "kernel_keys",
    "kernel_machine",
    "kernel_memfd",
    "kernel_mounts",
    "kernel_namespaces",
    "kernel_second_filter",
    "kernel_settings",
    "kernel_terminal",
    "kernel_x32",
    "kernel_young_calls",
    "net_http",
    "net_interfaces",
    "net_listen",
    "net_proxy_unlisted",
    "net_raw",
    "net_raw_with_grant",
    "net_reconnect_session",
    "net_tcp",
    "net_udp_and_names",
    "net_unix",
    "net_unlisted_host",
    "process_ask_for_a_secret",
    "process_become_root",
    "process_daemon",
    "process_debug",
    "process_environment_of_others",
    "process_fork",
    "process_fork_bomb",
    "process_granted_variable",
    "process_kill_all",
    "process_oom_score",
    "process_own_environment",
    "process_prctl",
    "process_raise_limits",
    "process_run_ungranted",
    "process_setuid_program",
    "process_signal_victim",
    "resource_descriptors",
    "resource_file_size",
    "resource_inodes",
    "resource_locked_memory",
    "resource_memory",
    "resource_memory_at_once",
    "resource_memory_limit",
    "resource_memory_of_children",
    "resource_page_tables",
    "resource_shared_memory",
    "resource_stdout",
    "resource_temporary_memory",
    "resource_threads",
    "resource_tmp",
    "session_child_talks",
    "session_closed_early",
    "session_continuation",
    "session_deaf",
    "session_descriptor",
    "session_descriptors_of_others",
    "session_forged_result",
    "session_garbage_now",
    "session_half_frame",
    "session_header_bomb",
    "session_huge_frame",
    "session_pings",
    "session_resets",
    "session_settings",
    "time_blocked_signals",
    "time_c_loop",
    "time_catch_all",
    "time_import",
    "time_loop",
    "time_regex",
    "time_stopped",
];

#[cfg(test)]
mod tests {
    use super::FILES;

    #[test]
    fn every_attack_is_part_of_the_binary() {
        let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/evil");
        let files =
            std::fs::read_dir(directory).unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
        let mut names: Vec<String> = files.filter_map(|file| Some(file.strip_suffix(".py")?.to_owned())).collect();
        names.sort();
        assert_eq!(FILES.iter().map(|(name, _)| *name).collect::<Vec<_>>(), names);
    }
}
