//! The conformance suite that every backend must pass. Each case checks one promise, and runs once per backend.
//!
//! No case sleeps to let something happen. A case waits for an answer, for a signal, or for a gate that it opens
//! itself.

mod backlog;
mod callers;
mod cancel;
mod checkpoint;
mod claim;
mod clock;
#[cfg(feature = "sqlite")]
mod crash;
mod delivery;
#[cfg(feature = "sqlite")]
mod durable;
mod faults;
mod group;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod handed_in;
mod health;
mod list;
#[cfg(all(feature = "sqlite", unix))]
mod litestream;
mod overview;
#[cfg(all(feature = "sqlite", unix))]
mod owner;
mod owners;
mod parked;
#[cfg(all(feature = "sqlite", feature = "postgres"))]
mod pg_copy;
#[cfg(feature = "postgres")]
mod pg_nodes;
#[cfg(feature = "postgres")]
mod pg_outages;
#[cfg(feature = "postgres")]
mod pg_plans;
#[cfg(feature = "postgres")]
mod pg_schema;
#[cfg(feature = "sqlite")]
mod plans;
mod progress;
mod replay;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod restart;
mod series;
#[cfg(feature = "postgres")]
mod server;
mod settle;
mod share;
mod submit;
mod summary;
mod terms;
mod tokens;
mod upkeep;
mod wakeups;
pub(crate) mod world;

#[cfg(any(feature = "sqlite", feature = "postgres"))]
use self::{clock::restarted, parked::reopened};

macro_rules! suite {
    ($($module:ident: $($case:ident),+;)+) => {
        mod memory {
            $($(
                #[tokio::test]
                async fn $case() {
                    super::$module::$case(super::world::World::memory()).await;
                }
            )+)+
        }
        #[cfg(feature = "sqlite")]
        mod sqlite {
            $($(
                #[tokio::test]
                async fn $case() {
                    super::$module::$case(super::world::World::sqlite()).await;
                }
            )+)+
        }
        #[cfg(feature = "postgres")]
        mod postgres {
            $($(
                #[tokio::test]
                #[ignore = "needs PostgreSQL; run it with --include-ignored"]
                async fn $case() {
                    super::$module::$case(super::world::World::postgres()).await;
                }
            )+)+
        }
        /// Runs all these cases on SQLite, one case after the other.
        #[cfg(feature = "sqlite")]
        async fn all_on_sqlite() {
            $($(Box::pin($module::$case(world::World::sqlite())).await;)+)+
        }
        /// Runs all these cases on PostgreSQL, one case after the other.
        #[cfg(feature = "postgres")]
        async fn all_on_postgres() {
            $($(Box::pin($module::$case(world::World::postgres())).await;)+)+
        }
    };
}

/// The same for the cases of those backends that keep their rows after the end of the process.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
macro_rules! suite_of_kept_rows {
    ($($module:ident: $($case:ident),+;)+) => {
        #[cfg(feature = "sqlite")]
        mod kept_by_sqlite {
            $($(
                #[tokio::test]
                async fn $case() {
                    super::$module::$case(super::world::World::sqlite()).await;
                }
            )+)+
        }
        #[cfg(feature = "postgres")]
        mod kept_by_postgres {
            $($(
                #[tokio::test]
                #[ignore = "needs PostgreSQL; run it with --include-ignored"]
                async fn $case() {
                    super::$module::$case(super::world::World::postgres()).await;
                }
            )+)+
        }
        #[cfg(feature = "sqlite")]
        async fn all_kept_by_sqlite() {
            $($(Box::pin($module::$case(world::World::sqlite())).await;)+)+
        }
        #[cfg(feature = "postgres")]
        async fn all_kept_by_postgres() {
            $($(Box::pin($module::$case(world::World::postgres())).await;)+)+
        }
    };
}

/// The tests that run only on SQLite, because they need a database file. The test of the query plans also runs them, to
/// collect their SQL statements.
#[cfg(feature = "sqlite")]
const ON_SQLITE_ALONE: &[fn()] = &[
    super::sqlite::schema::tests::a_file_of_version_1_is_brought_up_to_date,
    super::sqlite::upkeep::tests::a_log_that_a_reader_pins_is_copied_once_it_is_gone,
    super::sqlite::tests::the_outcome_of_a_commit_is_looked_up,
    super::sqlite::keys::tests::a_key_is_known_wherever_it_is,
    super::sqlite::keys::tests::a_request_that_is_deleted_gives_its_key_back,
    crash::only_what_had_begun_counts_the_death_of_its_process,
    durable::reader_pins_wal,
    durable::room_is_given_back_after_a_purge,
];

#[cfg(any(feature = "sqlite", feature = "postgres"))]
suite_of_kept_rows! {
    restart:
        what_waits_is_counted_anew_at_a_start,
        a_store_keeps_its_id_and_others_have_another,
        delays_and_deadlines_survive_a_restart,
        what_can_never_be_written_leaves_nothing_behind,
        rescue_limit_fails_poison_request,
        rescued_report_has_unknown_attempt,
        recovery_takes_up_all_however_many,
        suspects_are_run_one_by_one,
        nothing_is_pre_claimed_before_what_an_earlier_process_left,
        a_text_with_nul_can_be_stored;
    restarted:
        with_the_clock_set_back,
        after_the_clock_was_set_back_while_it_ran,
        after_the_clock_was_set_forward_while_it_ran,
        after_a_stop_of_an_hour;
    reopened:
        parked_and_held_reports_survive_a_restart;
    overview:
        a_page_reads_a_bounded_number_of_rows;
    series:
        figures_survive_a_restart;
    handed_in:
        what_a_transaction_hands_in_is_kept_or_undone_with_it,
        what_was_handed_in_is_taken_after_a_restart,
        of_all_who_look_one_takes_it,
        a_commit_with_unknown_outcome_takes_it_once,
        what_cannot_be_taken_is_set_aside_and_holds_up_nothing,
        what_finds_no_room_waits_and_holds_up_no_other_route,
        many_and_large_rows_are_taken,
        a_request_is_found_and_cancelled_before_it_is_taken,
        the_task_takes_what_it_is_told_of,
        the_table_refuses_what_is_no_row_of_it;
}

suite! {
    tokens:
        a_token_is_kept_with_what_was_said_about_it,
        a_revoked_token_stays_and_its_name_is_free,
        the_last_use_only_goes_forward,
        the_last_tick_of_a_schedule_only_goes_forward,
        the_audit_is_read_backwards_in_pages,
        old_entries_of_the_audit_are_purged;
    series:
        figures_of_a_minute_are_added_up,
        what_happens_is_counted_by_route_and_in_all,
        what_waits_is_kept_with_the_minute,
        figures_that_cannot_be_written_wait_for_the_next_minute,
        old_figures_are_purged_in_batches,
        a_stop_writes_the_minute_that_has_begun;
    submit:
        submit_then_get_is_queued,
        submit_same_id_same_body_returns_same,
        submit_same_id_other_body_conflicts,
        same_id_conflicts_after_settled_until_retention,
        ids_are_bytes_exact,
        body_and_headers_are_byte_exact,
        concurrent_same_id_one_winner,
        many_rows_in_one_batch;
    callers:
        a_request_keeps_its_owner_and_its_extras,
        an_idempotency_key_makes_one_request,
        a_request_with_another_query_is_another_one,
        a_repeated_request_is_not_refused,
        a_known_id_takes_no_key_from_others,
        of_many_calls_at_once_with_one_key_one_is_accepted,
        a_key_lives_as_long_as_its_request,
        a_delayed_request_waits_for_its_time,
        the_timeline_has_every_run,
        a_timeline_has_the_last_runs,
        a_watch_sees_every_change_of_status;
    checkpoint:
        the_last_checkpoint_is_handed_to_the_next_run,
        the_size_and_the_time_of_a_checkpoint_are_shown,
        only_the_current_run_saves_a_checkpoint,
        checkpoints_of_many_runs_are_stored_together,
        a_checkpoint_is_repeated_after_a_failed_write;
    progress:
        the_last_progress_is_kept_with_its_number,
        only_the_current_run_tells_progress,
        progress_of_many_runs_is_stored_together,
        who_follows_a_request_hears_of_progress,
        progress_is_repeated_after_a_failed_write;
    claim:
        claim_respects_limit,
        claim_order_due_then_seq,
        claim_skips_future_due,
        due_exactly_now_is_claimed,
        no_row_claimed_twice,
        claim_increments_epoch_and_attempt,
        claim_empty_returns_next_due,
        older_due_inserted_late_is_still_claimed,
        claims_are_for_attached_routes_only,
        pre_claimed_rows_are_not_claimable,
        a_pre_claim_needs_room_and_route,
        a_large_report_takes_more_room,
        nothing_is_pre_claimed_past_older_rows,
        rows_return_when_the_receiver_is_gone,
        claimed_rows_return_when_the_caller_is_gone,
        a_claim_of_reports_is_bounded_by_bytes,
        a_claim_of_parked_reports_is_bounded_by_bytes,
        a_claim_of_requests_is_bounded_by_bytes;
    share:
        a_request_passes_the_backlog_of_another_route,
        routes_share_what_is_claimed,
        a_claim_of_several_routes_is_bounded_by_bytes,
        counts_are_true_after_everything;
    owners:
        owners_share_what_is_claimed,
        the_owner_with_the_fewest_runs_is_next,
        owners_take_turns_at_a_single_slot,
        each_of_many_owners_has_its_turn,
        routes_take_turns_at_a_single_slot,
        the_highest_priority_of_an_owner_is_first,
        a_claim_of_many_owners_is_bounded_by_bytes,
        an_owner_that_a_claim_skips_is_first_next_time,
        waiting_requests_of_an_owner_can_be_cancelled_and_put_back,
        a_full_route_waits_and_holds_up_no_other;
    terms:
        a_delayed_request_can_be_cancelled,
        a_request_is_due_at_its_time_however_long_its_body_takes,
        many_delayed_requests_become_due_together,
        a_request_that_is_not_begun_in_time_is_claimed_to_be_settled,
        a_request_that_was_begun_in_time_does_not_expire,
        expired_requests_are_claimed_within_a_bound_of_bytes;
    clock:
        a_clock_set_back_strands_nothing,
        a_clock_set_forward_makes_no_retry_due,
        rows_keep_their_order_when_the_clock_is_set_back,
        what_is_shown_is_the_wall_clock,
        a_clock_set_forward_for_a_while_deletes_nothing,
        a_clock_set_forward_for_good_is_believed_in_time;
    settle:
        settle_moves_outcome_and_reports_together,
        settle_with_stale_epoch_writes_nothing,
        settle_twice_is_refused_second,
        settle_unknown_id_is_stale_not_error,
        mixed_batch_settles_only_current,
        reader_sees_outcome_iff_report_exists,
        zero_and_many_reports_per_outcome,
        outcomes_are_read_back_exactly,
        retry_sets_due_and_frees_node,
        put_back_counts_nothing,
        a_registration_stays_with_its_request,
        what_is_known_at_its_submission_stays_with_a_request;
    delivery:
        report_bytes_and_id_equal_on_every_attempt,
        who_chose_a_webhook_stays_with_its_report,
        attempts_numbered_without_gaps,
        deliveries_show_their_state,
        refused_report_is_never_claimed,
        settle_report_twice_is_stale,
        reports_of_a_settlement_are_handed_over,
        deliveries_are_bounded_and_oldest_first;
    backlog:
        no_more_requests_wait_than_may,
        an_owner_has_no_more_waiting_requests_than_it_may,
        no_more_bytes_wait_than_may,
        what_waits_is_counted_whatever_becomes_of_it,
        what_is_put_back_and_claimed_in_one_batch_is_counted_once,
        a_route_has_bounds_of_its_own;
    parked:
        per_origin_claim_is_fair,
        parked_reports_keep_due_order_and_attempt,
        what_is_parked_under_a_url_is_claimed_under_it_alone_and_is_of_its_origin_again,
        a_report_may_be_put_back_for_a_while_without_an_attempt,
        one_held_report_is_given_back_and_its_url_stays_disabled,
        the_next_parked_report_says_when_it_is_due,
        parking_takes_one_commit_and_prevents_no_pre_claim,
        what_is_over_is_final,
        gone_is_final,
        a_delivery_may_be_the_last,
        disabled_origin_holds_then_resumes,
        what_is_not_disabled_is_not_held,
        a_url_is_disabled_once_however_many_say_so,
        held_reports_are_given_up_after_the_retention,
        parked_reports_end_by_age,
        nobody_waits_for_the_first_attempt_of_a_held_report;
    cancel:
        cancel_queued_at_once,
        cancel_says_what_there_is_not_and_what_is_over,
        cancel_running_flags_and_settles,
        settle_after_cancel_is_refused,
        what_is_cancelled_is_not_run_again,
        what_waits_again_is_reported_where_it_registered,
        a_cancel_that_meets_a_claim_looks_again,
        many_who_cancel_the_same_cost_one_commit;
    summary:
        a_summary_says_what_the_record_says,
        what_is_large_is_read_in_pieces_until_it_is_purged;
    list:
        a_list_has_the_owners_requests_of_the_route_newest_first,
        a_list_is_filtered_by_status_and_time,
        a_page_looks_at_a_bounded_number_of_rows;
    overview:
        requests_are_listed_in_pages_and_by_filter,
        a_request_is_shown_with_all_that_is_stored,
        deliveries_are_listed_in_pages_and_by_filter,
        what_an_operator_disables_is_held_until_it_is_enabled,
        what_waits_is_told_with_its_age,
        the_feed_tells_each_change_and_what_was_missed;
    replay:
        replay_makes_new_row_same_webhook_id;
    upkeep:
        retention_keeps_unfinished,
        retention_respects_limit,
        retention_respects_bytes,
        a_route_keeps_its_requests_for_its_own_time,
        retention_batches_do_not_block_claims,
        queue_counts_match_rows,
        own_claims_are_not_recovered;
    health:
        a_writer_that_panicked_is_reported,
        a_store_that_was_taken_over_writes_nothing_more,
        a_store_that_was_closed_is_not_broken,
        a_writer_that_hangs_is_reported_until_it_goes_on,
        a_store_that_cannot_write_is_reported_until_it_can,
        a_store_that_failed_is_reported_until_as_much_is_written,
        a_full_store_is_reported;
    wakeups:
        wake_after_commit_not_before,
        a_signal_between_calls_is_kept,
        lost_wake_is_found_by_poll,
        a_watch_taken_before_sees_the_end,
        watches_leave_nothing_behind,
        each_first_attempt_is_waited_for;
    group:
        batch_with_one_bad_op_fails_only_that_op,
        resend_after_unknown_commit_is_idempotent,
        unknown_commit_that_failed_is_applied_again,
        a_passing_failure_is_invisible,
        same_id_keeps_its_order_across_batches,
        what_waits_becomes_one_batch,
        cancelled_caller_does_not_undo_or_poison,
        a_durable_post_whose_caller_is_gone_outlasts_the_failure,
        what_a_dead_writer_had_is_counted,
        backpressure_never_blocks_settle,
        a_full_queue_refuses_posts_and_delays_submits,
        a_flood_to_one_origin_leaves_room_for_others,
        a_durable_post_that_is_dropped_without_room_is_counted,
        settlements_wait_while_very_many_bytes_do,
        barrier_counts_what_was_posted_before_it,
        close_commits_what_waits,
        nobody_waits_for_a_writer_that_has_ended,
        close_is_final_and_twice_is_once;
}
