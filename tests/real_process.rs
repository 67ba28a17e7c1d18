//! `pisup supervise` as a whole, on real processes that misbehave on demand.
//!
//! Each test is a process of its own: the first one of new process, mount and network namespaces,
//! so the kernel ends whatever a test leaves behind. This file runs them beside each other, and
//! this program is also the service that misbehaves (`real_process/double.rs`).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]
#![allow(clippy::indexing_slicing, reason = "a test that looks beyond an end fails")]

#[path = "real_process/activation.rs"]
mod activation;
#[path = "real_process/again.rs"]
mod again;
#[path = "real_process/before.rs"]
mod before;
#[path = "real_process/birth.rs"]
mod birth;
#[path = "real_process/config.rs"]
mod config;
#[path = "real_process/ctl.rs"]
mod ctl;
#[path = "real_process/depend.rs"]
mod depend;
#[path = "real_process/doors.rs"]
mod doors;
#[path = "real_process/double.rs"]
mod double;
#[path = "real_process/end.rs"]
mod end;
#[path = "real_process/harness.rs"]
mod harness;
#[path = "real_process/idle.rs"]
mod idle;
#[path = "real_process/input.rs"]
mod input;
#[path = "real_process/notify.rs"]
mod notify;
#[path = "real_process/odd.rs"]
mod odd;
#[path = "real_process/outlive.rs"]
mod outlive;
#[path = "real_process/ready.rs"]
mod ready;
#[path = "real_process/record.rs"]
mod record;
#[path = "real_process/runner.rs"]
mod runner;
#[path = "real_process/starve.rs"]
mod starve;
#[path = "real_process/upgrade.rs"]
mod upgrade;
#[path = "real_process/values.rs"]
mod values;

use std::process::ExitCode;

/// Every test of a file, under its own name.
macro_rules! tests {
    ($($file:ident: $($name:ident),+ $(,)?;)+) => {
        &[$($((concat!(stringify!($file), "::", stringify!($name)), $file::$name),)+)+]
    };
}

const TESTS: &[runner::Test] = tests! {
    activation:
        the_service_is_handed_its_sockets_by_number_and_name,
        who_comes_during_a_restart_just_waits,
        sockets_survive_crashes_and_stops,
        sockets_are_there_before_the_service,
        a_stale_socket_file_is_replaced_and_a_live_one_is_not;
    again:
        every_exit_of_a_daemon_brings_it_back,
        policies_decide_what_follows_an_exit,
        an_exit_before_it_is_ready_is_a_failed_start_whatever_its_code,
        backoff_doubles_and_tells_how_long_and_that_it_is_degraded,
        failures_are_forgotten_once_it_is_stable,
        start_during_backoff_starts_now,
        stop_beats_backoff,
        stop_beats_waiting,
        stop_beats_restart,
        stop_ends_a_start_that_is_under_way,
        restart_never_doubles,
        restart_of_a_waiting_unit_makes_no_second_instance,
        a_oneshot_is_done_and_runs_again_only_when_restarted,
        a_crash_loop_leaves_nothing_behind;
    before:
        the_world_is_waited_for_with_a_reason,
        steps_are_done_in_order_before_every_start,
        a_step_that_fails_or_hangs_is_a_failed_start_with_its_words;
    birth:
        what_cannot_be_executed_is_said_in_a_sentence,
        nothing_of_the_supervisor_is_inherited,
        what_was_promised_is_open_and_nothing_else,
        user_and_groups_apply,
        limits_and_priorities_apply,
        rights_are_dropped,
        environment_files_are_read_at_every_start;
    config:
        a_bad_configuration_is_refused_whole,
        only_what_changed_is_restarted,
        rules_are_taken_over_while_it_runs,
        units_come_and_go,
        a_new_unit_moves_nobody_and_wakes_nobody_who_was_stopped,
        a_unit_that_is_removed_while_it_hangs_is_still_seen_to_its_end,
        units_keep_what_is_theirs_when_others_come_before_them,
        a_hangup_is_a_reload_of_the_configuration,
        a_new_dependency_is_respected_from_then_on,
        who_reads_and_who_waits_goes_on_over_a_reload;
    ctl:
        exit_codes_are_the_ones_that_are_documented,
        interrupting_the_waiting_leaves_the_job,
        only_root_may_talk_unless_there_is_a_group,
        a_second_supervisor_names_the_first_and_moves_nothing,
        a_bad_configuration_at_the_start_is_exit_1_with_all_that_is_wrong,
        logs_are_merged_counted_and_followed,
        a_reload_is_a_signal_or_a_command_and_its_failure_is_told,
        status_has_the_fields_that_are_promised;
    depend:
        a_crash_takes_along_who_is_bound_and_nobody_else,
        a_bound_oneshot_runs_again,
        a_stop_takes_dependents_first_and_a_start_brings_them_back,
        a_start_from_nothing_starts_all_that_is_needed_in_order,
        who_does_not_need_each_other_starts_side_by_side,
        conflicts_are_refused_with_the_others_name,
        a_wish_never_blocks_for_good,
        nobody_fails_because_of_another,
        a_crash_while_another_prepares_makes_it_wait_again;
    doors:
        strangers_may_not_even_ask,
        members_of_the_read_group_may_ask_and_not_tell,
        who_may_only_ask_crowds_out_nobody_else,
        a_right_that_is_taken_back_is_gone_at_once,
        no_link_is_followed_where_we_write,
        directories_of_others_are_refused,
        nothing_leaks_into_whatever_is_started,
        no_new_privileges_are_none;
    end:
        tree_takes_orphans_of_their_own_session_along,
        tree_is_swept_after_a_crash_before_the_next_start,
        group_leaves_those_of_another_session,
        main_leaves_everybody_else,
        a_stopped_process_stops,
        who_ignores_the_signal_is_killed_once_after_the_timeout,
        the_stop_signal_is_the_one_that_is_asked_for_and_comes_once,
        a_stop_command_takes_the_place_of_the_signal,
        an_orphan_that_holds_stdout_does_not_keep_a_stop_waiting,
        a_death_that_was_asked_for_is_no_failure,
        a_signal_by_name_is_a_crash_like_any_other,
        shutdown_is_the_start_backwards_and_exit_0,
        shutdown_by_name_is_waited_for_and_nothing_starts_meanwhile,
        the_shutdown_deadline_is_above_all_stop_timeouts,
        who_will_not_die_is_named_and_life_goes_on;
    idle:
        an_idle_supervisor_is_never_woken,
        orphans_are_reaped_and_no_dead_are_left,
        a_flood_of_output_neither_stops_the_service_nor_the_supervisor,
        a_line_without_end_and_binary_rubbish_are_kept_in_bounds;
    input:
        bad_requests_of_many_kinds_get_an_error_each,
        a_request_that_is_too_long_ends_the_connection,
        requests_are_what_lines_are_and_not_what_packets_are,
        who_leaves_halfway_leaves_nothing,
        mute_clients_do_not_keep_others_out,
        who_does_not_read_does_not_hold_up_others,
        a_client_that_goes_ends_the_waiting_and_not_the_job;
    notify:
        a_stranger_is_not_believed_but_counted,
        a_process_of_another_unit_is_a_stranger_too,
        a_child_of_the_unit_may_speak_for_it,
        bad_messages_of_many_kinds_move_nothing,
        an_oversized_message_makes_nobody_ready,
        more_time_is_granted_when_asked_for,
        what_a_service_says_of_itself_is_shown,
        the_main_process_may_hand_over,
        who_gives_no_sign_of_life_is_restarted;
    odd:
        without_cgroups_a_unit_is_its_session,
        a_hybrid_without_version_2_does_as_well,
        a_service_that_writes_outlives_a_supervisor_and_no_line_is_lost,
        nobody_reads_its_standard_error,
        it_starts_without_standard_descriptors,
        it_can_be_the_first_process_of_a_namespace,
        what_is_no_file_does_not_hold_it_up,
        services_that_lash_out_hit_nobody_else,
        a_name_that_is_too_long_for_a_socket_is_said_to_be,
        two_supervisors_live_side_by_side,
        a_signal_without_a_name_is_refused_or_replaced,
        a_network_that_comes_late_is_waited_for;
    outlive:
        thirty_units_are_as_they_were,
        who_died_meanwhile_is_known_by_how,
        without_an_init_a_death_meanwhile_is_honestly_unknown,
        what_was_said_meanwhile_is_heard,
        a_value_that_changed_meanwhile_bounces_its_users_only,
        a_stop_under_way_goes_on,
        killed_again_and_again_nothing_is_doubled_or_lost;
    record:
        a_file_that_is_not_taken_is_told_and_processes_are_found,
        what_waits_to_be_taken_over_is_not_forgotten,
        a_ready_file_that_came_before_anybody_watched_counts,
        an_idle_supervisor_writes_nothing,
        a_full_disk_is_told_and_stops_nothing,
        an_ordered_end_leaves_nothing_to_go_on_from;
    upgrade:
        another_program_takes_over_and_nobody_notices,
        under_pisup_init_it_is_the_same,
        a_program_that_fails_its_test_is_refused,
        a_program_that_hangs_is_undone,
        under_pisup_init_a_program_that_hangs_is_undone,
        a_program_that_dies_at_once_is_undone;
    ready:
        every_kind_of_evidence_is_waited_for_and_believed,
        a_file_counts_only_if_it_came_after_the_start,
        all_that_is_asked_for_must_hold,
        who_is_not_ready_in_time_is_told_what_is_missing,
        what_a_probe_finds_out_is_told,
        probes_never_overlap_and_end_with_the_unit,
        a_service_that_ends_before_it_is_ready_is_not_asked_any_more,
        a_line_of_the_last_run_counts_for_nothing,
        health_that_fails_restarts_or_is_reported,
        health_is_not_asked_of_what_is_not_ready;
    starve:
        without_descriptors_nothing_stops_and_all_comes_back,
        without_processes_nothing_stops_and_all_comes_back,
        little_memory_is_enough_whatever_is_asked_and_written,
        a_full_run_directory_stops_nothing_and_is_told,
        a_full_log_disk_stops_nothing_and_is_told,
        a_root_that_is_read_only_stops_nothing_and_is_told,
        half_a_request_from_two_hundred_keeps_nobody_out,
        a_gigabyte_in_one_line_is_kept_in_bounds,
        ten_thousand_orphans_are_reaped;
    values:
        a_value_is_waited_for_and_said_to_be,
        a_value_that_changes_in_place_bounces_its_users_in_order,
        a_value_that_changes_by_rename_bounces_its_users_in_order,
        a_value_or_file_that_vanishes_moves_nobody,
        a_restart_with_the_same_value_moves_nobody_else,
        what_is_planned_is_what_happens,
        kept_values_are_there_after_a_power_cut,
        a_broken_file_of_values_is_told_and_what_is_right_in_it_counts,
        a_value_reaches_every_place_and_a_oneshot_is_done_anew;
};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("double") => double::run(&words[1..]),
        Some("inside") => runner::inside(TESTS, &words[1], &words[2]),
        _ => runner::run_all(TESTS, &words),
    }
}
