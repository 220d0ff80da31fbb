<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Worker;

use Fervo\DeferredEventBundle\Payload\Signer;
use Fervo\DeferredEventBundle\Tests\Fixtures\AppKernel;
use Fervo\DeferredEventBundle\Tests\Fixtures\FooActionEvent;
use Fervo\DeferredEventBundle\Tests\Fixtures\Recorder;
use Fervo\DeferredEventBundle\Tests\Support\Folder;
use Fervo\DeferredEventBundle\Tests\Support\Server;
use PHPUnit\Framework\TestCase;

/** bin/fervo-run.php and an application, on PHP's built-in server. */
final class FrontControllerTest extends TestCase
{
    private static string $project = '';
    private static ?Server $server = null;

    public static function setUpBeforeClass(): void
    {
        self::$project = Folder::create();
        // As Composer would have it, the package as a symbolic link.
        mkdir(self::$project.'/vendor/fervo', 0700, true);
        symlink(\dirname(__DIR__, 2), self::$project.'/vendor/fervo/deferred-event-bundle');
        file_put_contents(self::$project.'/vendor/autoload.php', '<?php require '.var_export(\dirname(__DIR__).'/autoload.php', true).';');
        file_put_contents(self::$project.'/.env', "APP_ENV=prod\nFROM_DOTENV=yes\n");
        self::$server = Server::php(\dirname(__DIR__).'/Fixtures/router.php', self::$project, [
            'FERVO_TEST_SCRIPT' => self::$project.'/vendor/fervo/deferred-event-bundle/bin/fervo-run.php',
            'FERVO_TEST_FOLDER' => self::$project,
            'FERVO_TEST_CONFIG' => json_encode(['legacy' => ['accept_unsigned' => false]]),
            'FERVO_TEST_AUTOLOAD' => (string) getenv('FERVO_TEST_AUTOLOAD'),
        ]);
    }

    public static function tearDownAfterClass(): void
    {
        self::$server = null;
    }

    protected function setUp(): void
    {
        @unlink(self::$project.'/recorded');
        file_put_contents(self::$project.'/log', '');
    }

    public function testDone(): void
    {
        [$headers, $body] = $this->request(self::payload('hello'));

        self::assertSame(['X-Fervo-Outcome' => 'ack'], $headers);
        self::assertSame('', $body);
        self::assertSame(['foo.action hello 0'], $this->recorded());
    }

    public function testThePayloadAsAParam(): void
    {
        self::assertSame('ack', $this->request('', ['DEFERRED_DATA' => self::payload('hello')])[0]['X-Fervo-Outcome']);
        self::assertSame(['foo.action hello 0'], $this->recorded());
    }

    public function testTheApplicationIsFoundWhereComposersFolderHasAnotherPlace(): void
    {
        mkdir(self::$project.'/deep/lib', 0700, true);
        file_put_contents(self::$project.'/deep/lib/autoload.php', '<?php');
        $script = self::$project.'/deep/lib/fervo/deferred-event-bundle/bin/fervo-run.php';

        self::assertSame('ack', $this->request(self::payload('hello'), ['SCRIPT_FILENAME' => $script])[0]['X-Fervo-Outcome']);
    }

    public function testAnExceptionIsTriedAgainAndItsTraceLogged(): void
    {
        [$headers] = $this->request(self::payload('throw'));

        self::assertSame(['X-Fervo-Error' => 'RuntimeException: bad X-Evil: 1', 'X-Fervo-Outcome' => 'retry', 'X-Fervo-Pid' => self::$server->pid()], $headers);
        self::assertStringContainsString('Listeners->foo(', self::$server->log());
    }

    /** As in the web and in the console. */
    public function testAWarningOfPhpIsAnExceptionInDebugModeAndNoneElse(): void
    {
        self::assertSame('ack', $this->request(self::payload('warn'))[0]['X-Fervo-Outcome']);
        [$headers] = $this->request(self::payload('warn'), ['APP_ENV' => 'dev', 'APP_DEBUG' => '1']);

        self::assertSame('retry', $headers['X-Fervo-Outcome']);
        self::assertStringContainsString('ErrorException: Warning: Undefined array key "warn"', $headers['X-Fervo-Error']);
    }

    public function testUnrecoverable(): void
    {
        self::assertSame('bury', $this->request(self::payload('bury'))[0]['X-Fervo-Outcome']);
    }

    public function testRetryAfter(): void
    {
        self::assertSame(
            ['X-Fervo-Delay-Ms' => '1500', 'X-Fervo-Error' => 'Fervo\DeferredEventBundle\Exception\RetryAfterException: later', 'X-Fervo-Outcome' => 'retry', 'X-Fervo-Pid' => self::$server->pid()],
            $this->request(self::payload('wait'))[0],
        );
    }

    public function testTheEnvironmentComesFromDotenvUnlessItIsGiven(): void
    {
        $this->request(self::payload('job'), ['FERVO_JOB_ID' => '7', 'FERVO_QUEUE' => 'mail', 'FERVO_ATTEMPT' => '2', 'FERVO_MAX_ATTEMPTS' => '5']);
        $this->request(self::payload('job'), ['APP_ENV' => 'stage', 'APP_DEBUG' => '0']);

        self::assertSame(['prod 0 yes 7 mail 2 5', 'stage 0 yes 7 - - -'], [$this->recorded()[1], $this->recorded()[3]]);
    }

    public function testTheDumpedEnvironmentIsTakenWhereItIsThere(): void
    {
        $file = self::$project.'/.env.local.php';
        file_put_contents($file, "<?php return ['APP_ENV' => 'prod', 'FROM_DOTENV' => 'dumped'];");
        try {
            $this->request(self::payload('job'));
            $this->request(self::payload('job'), ['FROM_DOTENV' => 'given']);
            $this->request(self::payload('job'), ['APP_ENV' => 'stage', 'APP_DEBUG' => '0']);
        } finally {
            unlink($file);
        }

        self::assertSame(['prod 0 dumped', 'prod 0 given', 'stage 0 yes'], array_map(fn (int $i): string => substr($this->recorded()[$i], 0, -8), [1, 3, 5]));
    }

    public function testExitAndFatalErrorsHaveNoOutcome(): void
    {
        self::assertSame([], $this->request(self::payload('exit'))[0]);
        self::assertSame([], $this->request(self::payload('memory'))[0]);
        self::assertSame(['foo.action exit 0', 'foo.action memory 0'], $this->recorded());
    }

    public function testTheOutcomeIsARecordWhereAListenerHasSentTheHeaders(): void
    {
        [$headers, $body] = $this->request(self::payload('flush'));
        self::assertSame([], $headers);
        self::assertSame("half an answer\n\x1e{\"id\":\"7\",\"outcome\":\"ack\"}\n", $body);

        $body = $this->request(self::payload('flush and throw'))[1];
        self::assertSame([['id' => '7', 'outcome' => 'retry', 'error' => 'Fervo\DeferredEventBundle\Exception\RetryAfterException: half an answer', 'delay_ms' => 1500, 'pid' => (int) self::$server->pid()]], self::records($body));
        self::assertStringEndsWith("}\n", $body);
    }

    public function testTheRecordIsTheLastThingInTheBody(): void
    {
        $body = $this->request(self::payload('flush, and print at the end'))[1];

        self::assertSame("half\x1e{\"id\":\"7\",\"outcome\":\"ack\"}\n", $body, 'without what a destructor prints');
    }

    public function testWhatAListenerPrintsIsNotItsOutcome(): void
    {
        $records = self::records($this->request(self::payload('forge'))[1]);

        self::assertSame(['ack', 'retry'], array_column($records, 'outcome'), 'only the last one counts');
    }

    public function testWhatFailsAtTheEndOfTheScriptHasNoOutcome(): void
    {
        foreach (['fail at the end', 'die at the end', 'exit at the end'] as $job) {
            self::assertSame([], $this->request(self::payload($job))[0], $job);
        }
        self::assertStringContainsString('PHP Fatal error:  Uncaught RuntimeException: at the end', self::$server->log());
    }

    public function testVisitorsOfAWebServerAreRefusedAndNothingRuns(): void
    {
        foreach ([[], ['APP_PROJECT_DIR' => '/nowhere'], ['DEFERRED_DATA' => self::payload('hello')], ['HTTP_FERVO_JOB_ID' => '7', 'QUERY_STRING' => 'FERVO_JOB_ID=7']] as $params) {
            [$headers, $body, $status] = $this->request(self::payload('hello'), ['FERVO_JOB_ID' => null] + $params);
            self::assertSame([403, [], "This script is for fervo-worker.\n"], [$status, $headers, $body]);
        }
        self::assertSame([], $this->recorded());
    }

    public function testOutputIsDropped(): void
    {
        self::assertSame([['X-Fervo-Outcome' => 'ack'], '', 200], $this->request(self::payload('print')));
    }

    /** @dataProvider bad */
    #[\PHPUnit\Framework\Attributes\DataProvider('bad')]
    public function testBadPayloadsRunNothingAndOnlyWhatADeploymentCouldHealIsTriedAgain(string $payload, string $outcome, string $error): void
    {
        [$headers] = $this->request($payload);

        self::assertSame($outcome, $headers['X-Fervo-Outcome'] ?? null);
        self::assertStringContainsString($error, $headers['X-Fervo-Error']);
        self::assertSame([], $this->recorded());
    }

    /** @return iterable<string, array{string, string, string}> */
    public static function bad(): iterable
    {
        $good = self::payload('hello');
        yield 'forged' => [str_replace('foo.action', 'foo.faction', $good), 'bury', 'signature is wrong'];
        yield 'unsigned' => [base64_encode(serialize(new FooActionEvent())), 'bury', 'no signature'];
        yield 'truncated' => [substr($good, 0, 60), 'bury', 'no signature'];
        yield 'another key' => [(new Signer('other'))->sign('{}'), 'retry', 'signed with another key'];
        yield 'unknown class' => [(new Signer('s3cret'))->sign(json_encode(['event' => 'a', 'class' => 'App\Gone', 'format' => 'php', 'data' => ''])), 'retry', 'App\Gone'];
        yield 'a listener that is not deferred' => [self::payload('hello', ['service' => 'kernel', 'method' => 'shutdown']), 'retry', 'There is no deferred listener "kernel::shutdown"'];
        yield 'another method of a deferred listener' => [self::payload('hello', ['service' => 'Fervo\DeferredEventBundle\Tests\Fixtures\Listeners', 'method' => 'foo']), 'retry', 'There is no deferred listener'];
        yield 'empty' => ['', 'bury', 'no signature'];
    }

    public function testAKernelThatDoesNotBoot(): void
    {
        [$headers] = $this->request(self::payload('hello'), ['APP_ENV' => 'broken']);

        self::assertSame(['X-Fervo-Error' => 'LogicException: The kernel cannot boot', 'X-Fervo-Outcome' => 'retry', 'X-Fervo-Pid' => self::$server->pid()], $headers);
        self::assertStringContainsString('AppKernel.php', self::$server->log());
    }

    public function testAKernelThatIsNotThere(): void
    {
        [$headers] = $this->request(self::payload('hello'), ['APP_KERNEL_CLASS' => null]);

        self::assertSame('retry', $headers['X-Fervo-Outcome']);
        self::assertStringContainsString('There is no kernel "App\Kernel"', $headers['X-Fervo-Error']);
    }

    public function testAProjectThatIsNotThere(): void
    {
        [$headers] = $this->request(self::payload('hello'), ['APP_PROJECT_DIR' => '/nowhere']);

        self::assertSame('retry', $headers['X-Fervo-Outcome']);
        self::assertStringContainsString('vendor/autoload.php in /nowhere', $headers['X-Fervo-Error']);
    }

    public function testLateRequestsDoNothing(): void
    {
        $past = (string) (int) (microtime(true) * 1000 - 1);
        $future = (string) (int) (microtime(true) * 1000 + 60_000);

        self::assertSame([], $this->request(self::payload('hello'), ['FERVO_DEADLINE' => $past])[0]);
        self::assertSame([], $this->request(self::payload('hello'), ['FERVO_DEADLINE' => $future, 'FERVO_START_BY' => $past])[0]);
        self::assertSame([], $this->recorded());
        self::assertSame('ack', $this->request(self::payload('hello'), ['FERVO_DEADLINE' => $future])[0]['X-Fervo-Outcome']);
    }

    public function testTheWorkersCheckRunsNoJob(): void
    {
        $headers = $this->request('', ['FERVO_CHECK' => '1', 'FERVO_DEADLINE' => '0'])[0];
        self::assertSame(['X-Fervo-Check', 'X-Fervo-Outcome'], array_keys($headers));
        self::assertSame('ack', $headers['X-Fervo-Outcome']);
        $settings = json_decode($headers['X-Fervo-Check'], true);
        self::assertSame('0', $settings['max_execution_time']);
        self::assertArrayHasKey('opcache.enable', $settings);
        self::assertSame('retry', $this->request('', ['FERVO_CHECK' => '1', 'APP_ENV' => 'broken'])[0]['X-Fervo-Outcome']);
    }

    public function testABatch(): void
    {
        $batch = self::job('1', self::payload('hello')).self::job('2', self::payload('print')).self::job('3', self::payload('wait')).self::job('4', 'forged').self::job('5', self::payload("n\nl"));
        [$headers, $body] = $this->request($batch, ['FERVO_BATCH' => '5']);

        self::assertSame(['X-Fervo-Outcome' => 'batch'], $headers);
        $records = self::records($body);
        self::assertSame(['1', '2', '3', '4', '5'], array_column($records, 'id'));
        self::assertSame(['ack', 'ack', 'retry', 'bury', 'ack'], array_column($records, 'outcome'));
        self::assertSame([1500, self::$server->pid()], [$records[2]['delay_ms'], (string) $records[2]['pid']]);
        self::assertSame(['id', 'outcome'], array_keys($records[0]));
        // Between the jobs, services are reset: each saw a new recorder.
        self::assertSame(['foo.action hello 0', 'foo.action print 0', 'foo.action wait 0', 'foo.action n', 'l 0'], $this->recorded());
    }

    public function testAJobCannotTakeTheHeaderOfItsBatchBack(): void
    {
        [$headers, $body] = $this->request(self::job('1', self::payload('header')).self::job('2', self::payload('hello')), ['FERVO_BATCH' => '2']);

        self::assertSame(['X-Fervo-Outcome' => 'batch'], $headers);
        self::assertSame(['1', '2'], array_column(self::records($body), 'id'));
    }

    public function testJobsInABatchSeeTheirOwnParams(): void
    {
        $this->request(self::job('1', self::payload('job')).self::job('2', self::payload('job')), ['FERVO_BATCH' => '2']);

        self::assertSame(['prod 0 yes 1 mail 1 5', 'prod 0 yes 2 mail 1 5'], [$this->recorded()[1], $this->recorded()[3]]);
    }

    public function testARecordIsSentWhenItsJobIsDone(): void
    {
        exec('mkfifo '.escapeshellarg(self::$project.'/pipe'));
        $batch = self::job('1', self::payload('a')).self::job('2', self::payload('block'));
        $stream = stream_socket_client(self::$server->address);
        stream_set_timeout($stream, 5);
        fwrite($stream, "POST /mail/1 HTTP/1.0\r\nX-Params: ".json_encode($this->params(['FERVO_BATCH' => '2', 'FERVO_JOB_ID' => null]), \JSON_UNESCAPED_SLASHES)."\r\nContent-Length: ".\strlen($batch)."\r\n\r\n".$batch);
        try {
            do {
                $line = fgets($stream);
            } while (false !== $line && !str_starts_with($line, "\x1e"));
            self::assertSame("\x1e{\"id\":\"1\",\"outcome\":\"ack\"}\n", $line, 'while the second job runs');
        } finally {
            // For reading and writing: opening does not wait, and the line stays in the pipe until it is read.
            $pipe = fopen(self::$project.'/pipe', 'r+');
            fwrite($pipe, "go on\n");
        }
        self::assertStringContainsString('"id":"2"', stream_get_contents($stream));
        fclose($pipe);
    }

    public function testAnExitInABatchEndsItAfterTheRecordsBefore(): void
    {
        [, $body] = $this->request(self::job('1', self::payload('a')).self::job('2', self::payload('exit')).self::job('3', self::payload('b')), ['FERVO_BATCH' => '3']);

        self::assertSame([['id' => '1', 'outcome' => 'ack']], self::records($body));
        self::assertSame(['foo.action a 0', 'foo.action exit 0'], $this->recorded());
    }

    /** The worker has given up on the request by then, and has put back what is left. */
    public function testNoJobIsBegunBehindOneThatHasTakenLongerThanItMay(): void
    {
        [, $body] = $this->request(self::job('1', self::payload('a')).self::job('2', self::payload('slow'), ['timeout_ms' => 1]).self::job('3', self::payload('b')), ['FERVO_BATCH' => '3']);

        self::assertSame(['1', '2'], array_column(self::records($body), 'id'));
        self::assertSame(['foo.action a 0', 'foo.action slow 0'], $this->recorded());
    }

    public function testAJobOfABatchMayBeARepeat(): void
    {
        $this->request(self::job('1', self::payload('repeat'), ['repeat' => true]).self::job('2', self::payload('repeat')), ['FERVO_BATCH' => '2']);

        self::assertSame(['1', 'none'], [$this->recorded()[1], $this->recorded()[3]]);
    }

    public function testABatchThatCannotBootRetriesEachJob(): void
    {
        [$headers, $body] = $this->request(self::job('1', 'x').self::job('2', ''), ['FERVO_BATCH' => '2', 'APP_ENV' => 'broken']);

        self::assertSame('batch', $headers['X-Fervo-Outcome']);
        self::assertSame([['1', 'retry'], ['2', 'retry']], array_map(static fn (array $record): array => [$record['id'], $record['outcome']], self::records($body)));
    }

    public function testATruncatedBatchEndsWhereItIsTruncated(): void
    {
        [, $body] = $this->request(self::job('1', self::payload('a')).substr(self::job('2', self::payload('b')), 0, -20), ['FERVO_BATCH' => '2']);

        self::assertSame([['id' => '1', 'outcome' => 'ack']], self::records($body));
        self::assertStringContainsString('job "2" in the batch', self::$server->log());
    }

    /** @param array{service: string, method: string}|null $listener */
    private static function payload(string $text, ?array $listener = null): string
    {
        $event = new FooActionEvent($text);

        return (new Signer('s3cret'))->sign(json_encode(['event' => 'foo.action', 'class' => $event::class, 'format' => 'php', 'data' => base64_encode(serialize($event))] + array_filter(['listener' => $listener])));
    }

    /** @param array<string, mixed> $facts beside those of every job */
    private static function job(string $id, string $payload, array $facts = []): string
    {
        return json_encode($facts + ['id' => $id, 'queue' => 'mail', 'attempt' => 1, 'max_attempts' => 5, 'enqueued_at' => 1700000000000, 'timeout_ms' => 60000, 'bytes' => \strlen($payload)])."\n".$payload."\n";
    }

    /** @return list<array<string, mixed>> */
    private static function records(string $body): array
    {
        preg_match_all('/\x1e([^\n]*)\n/', $body, $match);

        return array_map(static fn (string $json): array => json_decode($json, true), $match[1]);
    }

    /**
     * @param array<string, string|null> $params
     *
     * @return array{array<string, string>, string, int} the X-Fervo headers, the body, the status
     */
    private function request(string $payload, array $params = []): array
    {
        $params = $this->params($params);
        $body = file_get_contents('http://127.0.0.1:'.self::$server->port().'/mail/1', false, stream_context_create(['http' => [
            'method' => 'POST',
            'header' => ['Content-Type: application/octet-stream', 'X-Params: '.json_encode($params, \JSON_UNESCAPED_SLASHES)],
            'content' => $payload,
            'ignore_errors' => true,
            'timeout' => 30,
        ]]));
        $headers = [];
        foreach ($http_response_header as $line) {
            if (str_starts_with($line, 'X-Fervo-')) {
                [$name, $value] = explode(': ', $line, 2);
                $headers[$name] = $value;
            }
        }
        ksort($headers);

        return [$headers, $body, (int) explode(' ', $http_response_header[0])[1]];
    }

    /**
     * @param array<string, string|null> $params
     *
     * @return array<string, string|null>
     */
    private function params(array $params): array
    {
        return $params + [
            'FERVO_JOB_ID' => '7',
            'APP_KERNEL_CLASS' => AppKernel::class,
            'SCRIPT_FILENAME' => self::$project.'/vendor/fervo/deferred-event-bundle/bin/fervo-run.php',
        ];
    }

    /** @return list<string> */
    private function recorded(): array
    {
        return Recorder::read(self::$project.'/recorded');
    }
}
