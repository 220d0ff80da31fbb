<?php

declare(strict_types=1);

namespace Fervo\Runner\Tests;

use Fervo\Runner\Outcome;
use Fervo\Runner\Tests\Support\Server;
use PHPUnit\Framework\TestCase;

/**
 * Requests as fervo-worker sends them. On PHP-FPM, with all that a job can do to its answer:
 * tests/integration/executors/fastcgi/front_controller_test.ts.
 */
final class RunnerTest extends TestCase
{
    private const ONE = ['FERVO_JOB_ID' => '7', 'FERVO_QUEUE' => 'mail'];
    private static ?Server $server = null;

    public static function setUpBeforeClass(): void
    {
        self::$server = new Server();
    }

    public static function tearDownAfterClass(): void
    {
        self::$server = null;
    }

    public function testAJobIsDoneWhenItReturnsWhatever(): void
    {
        self::assertSame([['X-Fervo-Outcome' => 'ack'], '', 200], $this->request('return;'));
        self::assertSame(['X-Fervo-Outcome' => 'ack'], $this->request('header("X-Fervo-Error: x"); echo "x"; return false;')[0]);
    }

    public function testAJobSaysItsOutcome(): void
    {
        $outcome = Outcome::class;

        self::assertSame(['bury', 'no order'], $this->told("return $outcome::bury('no order');"));
        self::assertSame(['retry', 'busy', '60000'], $this->told("return $outcome::retry('busy', 60_000);"));
        self::assertSame(['retry', 'DomainException: no'], $this->told('throw new DomainException("no");'));
        self::assertStringContainsString('DomainException: no in ', self::server()->log());
    }

    public function testThePayloadAsAParam(): void
    {
        self::assertSame(['bury', 'by param'], $this->told('', ['CODE' => 'return \Fervo\Runner\Outcome::bury("by param");']));
    }

    public function testNoTimeLimitOfPhp(): void
    {
        self::assertSame(['bury', '0'], $this->told('return \Fervo\Runner\Outcome::bury(ini_get("max_execution_time"));'));
    }

    /** Whoever the worker is told about, it is the job that it has sent. */
    public function testTheRecordHasTheIdOfTheRequest(): void
    {
        [$headers, $body] = $this->request('$_SERVER["FERVO_JOB_ID"] = "8"; while (ob_get_level() > 0) ob_end_clean(); echo "half"; flush();');

        self::assertSame([[], "half\x1e{\"id\":\"7\",\"outcome\":\"ack\"}\n"], [$headers, $body]);
    }

    public function testAnExitHasNoOutcome(): void
    {
        self::assertSame([[], []], [$this->request('exit;')[0], $this->request('register_shutdown_function(static fn () => exit());')[0]]);
    }

    /** On PHP 8.4 it would see what a shutdown function throws, and PHP would go on. */
    public function testNoHandlerOfTheApplicationHidesWhatFailsAtTheEnd(): void
    {
        $boot = ['BOOT' => 'set_exception_handler(static fn () => null);'];

        self::assertSame([], $this->request('register_shutdown_function(static fn () => throw new Exception("at the end"));', $boot)[0]);
        self::assertSame(['ack'], $this->told('', $boot));
    }

    public function testARecordIsTheLastThingInTheBody(): void
    {
        $late = 'while (ob_get_level() > 0) ob_end_clean(); flush(); $GLOBALS["late"] = new class { public function __destruct() { echo "the end"; } };';

        self::assertSame("\x1e{\"id\":\"7\",\"outcome\":\"ack\"}\n", $this->request($late)[1]);
    }

    public function testAnApplicationThatDoesNotBoot(): void
    {
        $boot = ['BOOT' => 'throw new LogicException("cannot boot");'];

        self::assertSame(['retry', 'LogicException: cannot boot'], $this->told('file_put_contents("ran", "");', $boot));
        self::assertSame(['retry', 'LogicException: cannot boot'], $this->told('', ['FERVO_CHECK' => '1'] + $boot));
        self::assertSame([['7', 'retry'], ['8', 'retry']], $this->batch(self::job('7', 'file_put_contents("ran", "");').self::job('8', ''), $boot));
        self::assertFileDoesNotExist(self::server()->folder.'/ran');
    }

    public function testACheckBootsAndRunsNoJob(): void
    {
        $headers = $this->request('file_put_contents("ran", "");', ['FERVO_CHECK' => '1', 'FERVO_DEADLINE' => '0'])[0];

        self::assertSame(['X-Fervo-Check', 'X-Fervo-Outcome'], array_keys($headers));
        self::assertSame('ack', $headers['X-Fervo-Outcome']);
        self::assertSame(['display_errors' => '0', 'log_errors' => '1'], array_intersect_key(json_decode($headers['X-Fervo-Check'], true), ['display_errors' => 0, 'log_errors' => 0]));
        self::assertFileDoesNotExist(self::server()->folder.'/ran');
    }

    public function testALateRequestRunsNothing(): void
    {
        $boots = ['BOOT' => 'file_put_contents("booted", "");'];
        $past = (string) (int) (microtime(true) * 1000 - 1);
        $future = (string) (int) (microtime(true) * 1000 + 600_000);

        self::assertSame([], $this->request('', ['FERVO_DEADLINE' => $past] + $boots)[0]);
        self::assertSame([], $this->request('', ['FERVO_DEADLINE' => $future, 'FERVO_START_BY' => $past] + $boots)[0]);
        self::assertSame([], $this->request('', ['FERVO_DEADLINE' => $future, 'FERVO_START_BY' => $past, 'FERVO_BATCH' => '1'] + $boots)[0]);
        self::assertFileDoesNotExist(self::server()->folder.'/booted');
        self::assertSame(['ack'], $this->told('', ['FERVO_DEADLINE' => $future]));
    }

    public function testAVisitorIsRefused(): void
    {
        self::assertSame([[], "This script is for fervo-worker.\n", 403], self::server()->request('file_put_contents("ran", "");', ['HTTP_FERVO_JOB_ID' => '7', 'CODE' => '']));
        self::assertFileDoesNotExist(self::server()->folder.'/ran');
    }

    public function testABatch(): void
    {
        $batch = self::job('7', 'echo "x"; header("X-Fervo-Outcome: ack");').self::job('8', 'throw new Exception();').self::job('9', 'return \Fervo\Runner\Outcome::bury($job->id.$_SERVER["FERVO_JOB_ID"]);');

        self::assertSame(['X-Fervo-Outcome' => 'batch'], $this->request($batch, ['FERVO_BATCH' => '3'])[0]);
        self::assertSame([['7', 'ack'], ['8', 'retry'], ['9', 'bury', '99']], $this->batch($batch));
    }

    public function testEachJobOfABatchHasWhatTheFirstHas(): void
    {
        $job = 'echo "\x1e{}\n"; $limit = ini_get("max_execution_time"); set_time_limit(20); return \Fervo\Runner\Outcome::bury($limit);';

        self::assertSame([['7', 'bury', '0'], ['8', 'bury', '0']], $this->batch(self::job('7', $job).self::job('8', $job)), 'no limit, and no output');
    }

    /** A browser's request is compressed where PHP does that, and its records would come at the end. */
    public function testNoRecordIsCompressed(): void
    {
        $body = $this->request(self::job('7', ''), ['FERVO_BATCH' => '1', 'COMPRESS' => '1'])[1];

        self::assertSame("\n\x1e{\"id\":\"7\",\"outcome\":\"ack\"}\n", $body);
    }

    /** The header has gone by then: the application cannot take it back. */
    public function testABatchIsOneWhateverTheApplicationSends(): void
    {
        [$headers, $body] = $this->request(self::job('7', ''), ['FERVO_BATCH' => '1', 'BOOT' => 'header_remove(); header("X-Fervo-Outcome: ack"); ob_end_flush(); echo "x"; flush();']);

        self::assertSame('batch', $headers['X-Fervo-Outcome']);
        self::assertStringEndsWith("\x1e{\"id\":\"7\",\"outcome\":\"ack\"}\n", $body);
    }

    /** From then on it is the job's fault when PHP ends. */
    public function testTheBeginOfAMessageIsToldBehindTheBoot(): void
    {
        $batch = self::job('7', 'return 1;', format: 'messenger').self::job('8', 'exit;', format: 'messenger');

        self::assertSame([['7', 'begun'], ['7', 'ack'], ['8', 'begun']], $this->batch($batch));
        self::assertSame([], $this->batch($batch, ['BOOT' => 'exit;']));
        self::assertSame([], $this->batch($batch, ['BOOT' => 'throw new LogicException("not now");']));
        self::assertStringContainsString('LogicException: not now in ', self::server()->log());
    }

    public function testWhatHeadersHaveNoWordForIsARecord(): void
    {
        $outcome = Outcome::class;

        self::assertSame([[], "\x1e{\"id\":\"7\",\"outcome\":\"release\",\"delay_ms\":500}\n", 200], $this->request("header('X-Fervo-Outcome: ack'); echo 'x'; return $outcome::release(500);"));
        self::assertMatchesRegularExpression('/"outcome":"release","error":"closed","delay_ms":500,/', $this->request("return $outcome::release(500, 'closed');")[1]);
        self::assertMatchesRegularExpression('/^\x1e\{"id":"7","outcome":"replace",[^\n]*"headers_bytes":2,"bytes":3\}\n\{\}\x1e\n\x00$/D', $this->request("echo 'x'; return $outcome::replace(\"\\x1e\\n\\0\", [], 0, 'busy');")[1]);
        self::assertSame([[], "\x1e{\"id\":\"7\",\"outcome\":\"ack\",\"queue_pause_ms\":5000}\n", 200], $this->request("return $outcome::ack()->pausingQueue(5_000);"));
    }

    public function testAReplaceInABatchIsFollowedByItsMessage(): void
    {
        $job = self::job('7', 'echo "x"; return \Fervo\Runner\Outcome::replace("\x1e\n\0", ["a" => "b"], 2000, "busy");');

        self::assertMatchesRegularExpression('/^\n\x1e\{"id":"7","outcome":"replace","error":"busy","delay_ms":2000,"pid":\d+,"headers_bytes":9,"bytes":3\}\n\{"a":"b"\}\x1e\n\x00\x1e\{"id":"8","outcome":"ack"\}\n$/D', $this->request($job.self::job('8', ''), ['FERVO_BATCH' => '2'])[1]);
    }

    public function testAnApplicationIsToldOfAJobThatDied(): void
    {
        $died = 'return \Fervo\Runner\Outcome::replace($job->payload, $job->headers, 5, "$failure->id $failure->code: $failure->message");';
        [$headers, $body] = $this->postMortem(['DIED' => $died]);

        self::assertSame('post-mortem', $headers['X-Fervo-Outcome']);
        self::assertMatchesRegularExpression('/^\n\x1e\{"id":"7","outcome":"begun"\}\n\x1e\{"id":"7","outcome":"replace","error":"f1 JOB_CRASHED: killed","delay_ms":5,"pid":\d+,"headers_bytes":9,"bytes":14\}\n\{"a":"b"\}throw \x1e\n\x00 "x";$/D', $body);
    }

    public function testWhatTheApplicationThrowsAtAJobThatDiedIsARetry(): void
    {
        self::assertStringContainsString('{"id":"7","outcome":"retry","error":"DomainException: no"', $this->postMortem(['DIED' => 'throw new DomainException("no");'])[1]);
    }

    /** The worker takes it for an application that did not start, and tells it again when that has been mended. */
    public function testNothingIsBegunWhereNobodyHearsOfAJobThatDied(): void
    {
        self::assertSame("\n", $this->postMortem([])[1]);
        self::assertStringContainsString('has to return a Fervo\Runner\Application', self::server()->log());
        self::assertSame("\n", $this->postMortem(['DIED' => 'exit;', 'BOOT' => 'throw new LogicException("not now");'])[1]);
    }

    public function testAnApplicationRunsJobs(): void
    {
        self::assertSame(['bury', 'no'], $this->told('return \Fervo\Runner\Outcome::bury("no");', ['DIED' => 'exit;']));
        self::assertSame([['7', 'begun'], ['7', 'ack']], $this->batch(self::job('7', 'return 1;', format: 'messenger'), ['DIED' => 'exit;']));
    }

    public function testAnApplicationRunsAllJobsOfARequestAndSettlesThemInAnyOrder(): void
    {
        $batch = self::job('7', '1', format: 'messenger').self::job('8', '2', format: 'messenger').self::job('9', '3', format: 'messenger');
        $all = '$taken = iterator_to_array($jobs); echo "\x1e{}\n"; foreach (array_reverse($taken) as $job) { $settle($job, '.Outcome::class.'::bury($job->payload)); echo "\x1e{}\n"; }';

        self::assertSame([['7', 'begun'], ['8', 'begun'], ['9', 'begun'], ['9', 'bury', '3'], ['8', 'bury', '2'], ['7', 'bury', '1']], $this->batch($batch, ['ALL' => $all]));
        self::assertSame([['7', 'begun'], ['7', 'bury', '1']], $this->batch($batch, ['ALL' => '$settle($jobs->current(), '.Outcome::class.'::bury($jobs->current()->payload));']), 'what is not taken has not begun');
        self::assertSame([['7', 'begun'], ['7', 'ack'], ['8', 'begun']], $this->batch($batch, ['ALL' => '$settle($jobs->current(), '.Outcome::class.'::ack()); $jobs->next(); throw new LogicException("as told");']), 'what has no outcome has died');
        self::assertStringContainsString('LogicException: as told in ', self::server()->log());
        self::assertSame([['7', 'bury', 'ran']], $this->batch(self::job('7', 'return '.Outcome::class.'::bury("ran");'), ['ALL' => 'exit;']), 'jobs without a framework run one after the other');
    }

    public function testThereAreNoMoreJobsWhenTheWorkerHasGivenUp(): void
    {
        $batch = self::job('7', '', 1, 'messenger').self::job('8', '', 1, 'messenger');

        self::assertSame([['7', 'begun'], ['7', 'ack']], $this->batch($batch, ['ALL' => 'foreach ($jobs as $job) { usleep(2000); $settle($job, '.Outcome::class.'::ack()); }']));
        self::assertSame([['7', 'begun'], ['7', 'ack']], $this->batch($batch, ['ALL' => 'foreach ($jobs as $job) { usleep(2000); $taken[] = $job; } foreach ($taken as $job) { $settle($job, '.Outcome::class.'::ack()); }']));
        self::assertSame([['7', 'begun']], $this->batch(self::job('7', '', format: 'messenger').substr(self::job('8', 'x', format: 'messenger'), 0, -2), ['ALL' => 'iterator_to_array($jobs);']), 'nor when the request is cut off');
    }

    public function testAnApplicationTellsTheCheckWhatItKnows(): void
    {
        $facts = json_decode($this->request('', ['FERVO_CHECK' => '1', 'ALL' => '', 'FACTS' => 'return ["shop" => ["a/b" => true], "log_errors" => "mine"];'])[0]['X-Fervo-Check'], true);
        self::assertSame([['a/b' => true], '1'], [$facts['shop'], $facts['log_errors']]);

        $headers = $this->request('', ['FERVO_CHECK' => '1', 'ALL' => '', 'FACTS' => 'throw new LogicException("unknown");'])[0];
        self::assertSame(['ack', '1'], [$headers['X-Fervo-Outcome'], json_decode($headers['X-Fervo-Check'], true)['log_errors']]);
    }

    public function testABatchEndsWithTheJobThatEndsPhpOrTakesTooLong(): void
    {
        self::assertSame([['7', 'ack']], $this->batch(self::job('7', '').self::job('8', 'exit;').self::job('9', '')));
        self::assertSame([['7', 'ack']], $this->batch(self::job('7', 'usleep(2000);', 1).self::job('8', '')));
        self::assertSame([['7', 'ack']], $this->batch(self::job('7', '').substr(self::job('8', 'return 1;'), 0, -2)));
        self::assertStringContainsString('The payload of job "8" in the batch does not have the 9 bytes', self::server()->log());
    }

    /**
     * @param array<string, string> $params
     *
     * @return array{array<string, string>, string, int}
     */
    private function request(string $payload, array $params = []): array
    {
        return self::server()->request($payload, $params + self::ONE);
    }

    /**
     * @param array<string, string> $params
     *
     * @return list<string> outcome, error, delay
     */
    private function told(string $payload, array $params = []): array
    {
        $headers = $this->request($payload, $params)[0];

        return array_values(array_filter(array_map(static fn (string $name): ?string => $headers['X-Fervo-'.$name] ?? null, ['Outcome', 'Error', 'Delay-Ms']), 'is_string'));
    }

    /**
     * @param array<string, string> $params
     *
     * @return list<list<string>> id, outcome, and why a job was buried
     */
    private function batch(string $batch, array $params = []): array
    {
        preg_match_all('/\x1e([^\n]*)\n/', $this->request($batch, ['FERVO_BATCH' => (string) substr_count($batch, '"bytes"')] + $params)[1], $match);

        return array_map(static function (string $json): array {
            $record = json_decode($json, true);

            return array_values(array_intersect_key($record, ['id' => 0, 'outcome' => 0] + ('bury' === $record['outcome'] ? ['error' => 0] : [])));
        }, $match[1]);
    }

    /**
     * @param array<string, string> $params
     *
     * @return array{array<string, string>, string, int}
     */
    private function postMortem(array $params): array
    {
        $payload = "throw \x1e\n\0 \"x\";";
        $facts = ['id' => '7', 'queue' => 'mail', 'format' => 'messenger', 'headers' => ['a' => 'b'], 'failure' => ['id' => 'f1', 'code' => 'JOB_CRASHED', 'message' => 'killed'], 'bytes' => \strlen($payload)];

        return self::server()->request(json_encode($facts)."\n$payload\n", ['FERVO_POST_MORTEM' => '1', 'CONTENT_TYPE' => 'application/x-fervo-post-mortem'] + $params);
    }

    private static function job(string $id, string $payload, int $timeoutMs = 60_000, ?string $format = null): string
    {
        return json_encode(array_filter(['format' => $format]) + ['id' => $id, 'queue' => 'mail', 'attempt' => 1, 'max_attempts' => 5, 'timeout_ms' => $timeoutMs, 'bytes' => \strlen($payload)])."\n$payload\n";
    }

    private static function server(): Server
    {
        return self::$server ?? throw new \LogicException();
    }
}
