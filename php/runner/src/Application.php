<?php

declare(strict_types=1);

namespace Fervo\Runner;

/** Runs the jobs of a framework that keeps retries and failed jobs itself, and so must learn of jobs that died. */
interface Application
{
    /** @return mixed as the result of a job's function: every result except an Outcome is an ack */
    public function run(Job $job): mixed;

    /**
     * The job has died without an outcome. Do not run it, but do what an exception of the job would have led to.
     *
     * @return Outcome handled, replace, retry or bury; the worker accepts no other outcome
     */
    public function died(Job $job, Failure $failure): Outcome;
}
