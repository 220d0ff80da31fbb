<?php

declare(strict_types=1);

namespace Fervo\Runner;

/**
 * An application that runs all jobs of a request at once, for example because its framework has handlers for many messages. It gets
 * the jobs of a framework so, also a single one; all others one after the other.
 */
interface BatchApplication extends Application
{
    /**
     * Runs the jobs, and returns when it has run all that it has taken. A job without an outcome then counts as one that died: the
     * worker reports it by {@see Application::died()}. Jobs that were not taken run elsewhere.
     *
     * @param \Generator<int, Job>         $jobs   each begins when it is taken; there are no more when the worker has given up on the request
     * @param \Closure(Job, Outcome): void $settle tells the outcome of a job at once; in any order, once for each job
     */
    public function runAll(\Generator $jobs, \Closure $settle): void;
}
