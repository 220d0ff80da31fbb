<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Worker;

/**
 * Several jobs in one request, one after another.
 *
 * In, for each job: one line of JSON with `bytes`, the payload of so many bytes, a newline. Out, for each job as it ends:
 * 0x1E, one line of JSON with `id` and `outcome`. The worker settles each job by its record; when this process dies, it
 * knows that the first job without one was running, and that those behind it were not begun.
 *
 * @internal
 */
final class BatchAnswer
{
    /**
     * @param resource          $input
     * @param JobRunner|Outcome $run   an outcome is that of all jobs: the kernel did not boot
     */
    public static function run(int $jobs, $input, JobRunner|Outcome $run): void
    {
        // Whatever buffers would keep a record back until the end.
        ini_set('zlib.output_compression', '0');
        FrontController::endBuffers();
        header_remove();
        header('X-Fervo-Outcome: batch');

        for ($i = 0; $i < $jobs; ++$i) {
            try {
                [$job, $payload] = self::read($input);
            } catch (\UnexpectedValueException $error) {
                // The worker sees that there is no record for this job, and none behind it was begun.
                error_log($error->getMessage());

                return;
            }
            self::describe($job);
            // The job before may have set one.
            FrontController::noTimeLimit();
            FrontController::dropOutput();
            $startedNs = hrtime(true);
            $outcome = $run instanceof Outcome ? $run : $run->run($payload);
            FrontController::write($outcome->toRecord((string) $job['id']));
            if (connection_aborted() || hrtime(true) - $startedNs > ($job['timeout_ms'] ?? \INF) * 1e6) {
                // The worker has given up on this request: the jobs that are left run elsewhere.
                return;
            }
        }
    }

    /**
     * @param resource $input
     *
     * @return array{array<string, mixed>, string}
     */
    private static function read($input): array
    {
        $line = fgets($input);
        $job = false === $line ? null : json_decode($line, true);
        if (!\is_array($job) || !isset($job['id'], $job['bytes'])) {
            throw new \UnexpectedValueException('The batch ends, or is no batch, where a job should begin.');
        }
        $bytes = (int) $job['bytes'];
        $payload = 0 === $bytes ? '' : (string) stream_get_contents($input, $bytes);
        if (\strlen($payload) !== $bytes || "\n" !== fgetc($input)) {
            throw new \UnexpectedValueException(sprintf('The payload of job "%s" in the batch does not have the %d bytes that were announced.', $job['id'], $bytes));
        }

        return [$job, $payload];
    }

    /**
     * For the listeners, so that a job in a batch looks like one that came alone.
     *
     * @param array<string, mixed> $job
     */
    private static function describe(array $job): void
    {
        $params = [
            'FERVO_JOB_ID' => $job['id'],
            'FERVO_QUEUE' => $job['queue'] ?? null,
            'FERVO_ATTEMPT' => $job['attempt'] ?? null,
            'FERVO_REPEAT' => ($job['repeat'] ?? false) ? 1 : null,
            'FERVO_MAX_ATTEMPTS' => $job['max_attempts'] ?? null,
            'FERVO_ENQUEUED_AT' => $job['enqueued_at'] ?? null,
            'FERVO_DEADLINE' => isset($job['timeout_ms']) ? (int) (microtime(true) * 1000) + (int) $job['timeout_ms'] : null,
            'HTTP_TRACEPARENT' => $job['traceparent'] ?? null,
            'HTTP_TRACESTATE' => $job['tracestate'] ?? null,
        ];
        foreach ($params as $name => $value) {
            if (null === $value) {
                unset($_SERVER[$name]);
            } else {
                $_SERVER[$name] = (string) $value;
            }
        }
    }
}
