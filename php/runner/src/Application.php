<?php

declare(strict_types=1);

namespace Fervo\Runner;

/** Runs the jobs of a framework that keeps retries and failed jobs itself, and so has to hear of those that died. */
interface Application
{
    /** @return mixed as of a function that runs a job: any result but an Outcome is an ack */
    public function run(Job $job): mixed;

    /**
     * The job has died without a word, and is not to be run: what an exception of it would have led to is to be done.
     *
     * @return Outcome handled, replace, retry or bury; the worker takes no other for an answer
     */
    public function died(Job $job, Failure $failure): Outcome;
}
