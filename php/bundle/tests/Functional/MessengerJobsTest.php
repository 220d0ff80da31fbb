<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Functional;

use Fervo\DeferredEventBundle\Event\JobFailed;
use Fervo\DeferredEventBundle\Messenger\JobCrashed;
use Fervo\DeferredEventBundle\Tests\Fixtures\InBatches;
use Fervo\DeferredEventBundle\Tests\Fixtures\InOtherBatches;
use Fervo\DeferredEventBundle\Tests\Fixtures\KeptTransports;
use Fervo\DeferredEventBundle\Tests\Fixtures\Pay;
use Fervo\DeferredEventBundle\Tests\Fixtures\SignedWork;
use Fervo\DeferredEventBundle\Tests\Fixtures\TestKernel;
use Fervo\DeferredEventBundle\Worker\JobRunner;
use Fervo\Runner\Failure;
use Fervo\Runner\Job;
use Fervo\Runner\Outcome;
use Symfony\Bundle\FrameworkBundle\Console\Application;
use Symfony\Component\Console\Tester\ApplicationTester;
use Symfony\Component\DependencyInjection\Exception\EnvNotFoundException;
use Symfony\Component\DependencyInjection\Loader\Configurator\ContainerConfigurator;
use Symfony\Component\HttpKernel\Kernel;
use Symfony\Component\Messenger\Envelope;
use Symfony\Component\Messenger\Exception\TransportException;
use Symfony\Component\Messenger\MessageBusInterface;
use Symfony\Component\Messenger\Stamp\BusNameStamp;
use Symfony\Component\Messenger\Stamp\DelayStamp;
use Symfony\Component\Messenger\Stamp\ErrorDetailsStamp;
use Symfony\Component\Messenger\Stamp\HandledStamp;
use Symfony\Component\Messenger\Stamp\RedeliveryStamp;
use Symfony\Component\Messenger\Stamp\SentToFailureTransportStamp;
use Symfony\Component\Messenger\Transport\Serialization\PhpSerializer;
use Symfony\Component\Messenger\Transport\Serialization\SerializerInterface;
use Symfony\Component\Messenger\Transport\Serialization\SigningSerializer;

use function Symfony\Component\DependencyInjection\Loader\Configurator\service_closure;

/**
 * Jobs with `format = "messenger"`: the messages of the application's own transports, as fervo-worker brings them and is answered
 * (docs/protocol.md, section 8; the table of docs/adr/0038).
 */
final class MessengerJobsTest extends MessengerTestCase
{
    /** No transport of this DSN can be made: the worker reads and writes its messages. */
    private const ASYNC = ['dsn' => 'elsewhere://', 'retry_strategy' => ['max_retries' => 2, 'delay' => 1000, 'multiplier' => 2]];
    private const FAILED = ['failure_transport' => 'failed', 'transports' => ['failed' => 'kept://', 'async' => self::ASYNC]];
    private const WITHOUT = ['transports' => ['async' => ['dsn' => 'elsewhere://', 'retry_strategy' => ['max_retries' => 0]]]];

    /** @var list<string> ids of the jobs with an outcome, in the order in which it was told */
    private array $settled = [];

    public function testAMessageIsHandledByMessengersWorkerAndIsDone(): void
    {
        $kernel = $this->shop();
        $outcome = $this->one($kernel, new Pay('binary', "\xff\0"));

        self::assertSame('ack', $outcome->kind);
        self::assertSame(['received by async', 'binary', 'ff00', 'binary (2)', 'handled'], $this->till($kernel)->seen);
        self::assertSame('7', $this->till($kernel)->lastId);
    }

    public function testAFailureReplacesTheMessageAsTheRetryStrategySaysAndThenSendsItToTheFailureTransport(): void
    {
        $kernel = $this->shop();
        $job = $this->job(new Pay('throw', "\xff"));
        foreach ([1 => 1000, 2 => 2000] as $retry => $delayMs) {
            $outcome = $this->runAll($kernel, $job)[0];
            self::assertSame(['replace', 'DomainException: The till is shut'], [$outcome->kind, $outcome->error]);
            // From 7.1 on, with a jitter of a tenth.
            self::assertEqualsWithDelta($delayMs, $outcome->delayMs, 0.1 * $delayMs);
            $copy = $this->decoded($outcome);
            self::assertEquals(new Pay('throw', "\xff"), $copy->getMessage());
            self::assertSame([$retry, $outcome->delayMs], [RedeliveryStamp::getRetryCountFromEnvelope($copy), $copy->last(DelayStamp::class)?->getDelay()]);
            $job = $this->replaced($outcome);
        }

        $outcome = $this->runAll($kernel, $job)[0];
        self::assertSame(['handled', 'DomainException: The till is shut'], [$outcome->kind, $outcome->error]);
        [$failed] = [...$this->transport($kernel, 'failed')->get()];
        self::assertSame('async', $failed->last(SentToFailureTransportStamp::class)?->getOriginalReceiverName());
        self::assertSame(['failed, will retry', 'failed, will retry', 'failed'], array_values(preg_grep('/^failed/', $this->till($kernel)->seen)));
    }

    public function testWithoutAFailureTransportAMessageIsADeadLetter(): void
    {
        $kernel = $this->shop(self::WITHOUT);
        $outcome = $this->one($kernel, new Pay('throw'));

        self::assertSame(['bury', 'DomainException: The till is shut'], [$outcome->kind, $outcome->error]);
    }

    public function testMessengersMarksOnExceptionsAreHeeded(): void
    {
        $kernel = $this->shop();

        self::assertSame('handled', $this->one($kernel, new Pay('never again'))->kind);
        $job = $this->job(new Pay('recover'));
        for ($i = 0; $i < 4; ++$i) {
            $outcome = $this->runAll($kernel, $job)[0];
            self::assertSame('replace', $outcome->kind, 'without end');
            $job = $this->replaced($outcome);
        }
    }

    public function testAHandlerThatHasSucceededIsNotCalledAgain(): void
    {
        $kernel = $this->shop();
        $outcome = $this->one($kernel, new Pay('second throws'));
        self::assertCount(1, $this->decoded($outcome)->all(HandledStamp::class));
        $this->till($kernel)->seen = [];
        $this->runAll($kernel, $this->replaced($outcome));

        self::assertSame(['received by async', 'second throws (2)', 'failed, will retry'], $this->till($kernel)->seen);
    }

    public function testAListenerThatThrowsBehindTheCopyChangesNothing(): void
    {
        $outcome = $this->one($this->shop(), new Pay('throw the other'));

        self::assertSame(['replace', 'RangeException: Another'], [$outcome->kind, $outcome->error]);
    }

    public function testAListenerThatThrowsBehindTheHandlersHasTheMessageRunAgain(): void
    {
        $outcome = $this->one($this->shop(), new Pay('listener of handled throws'));

        self::assertSame(['retry', 'LogicException: A listener of Messenger\'s events failed'], [$outcome->kind, $outcome->error]);
    }

    public function testAFailureTransportThatIsAwayHasTheMessageRunAgain(): void
    {
        $messenger = self::FAILED;
        $messenger['transports']['failed'] = 'broken://';
        $outcome = $this->one($this->shop($messenger), new Pay('never again'));

        self::assertSame(['retry', TransportException::class.': It is broken'], [$outcome->kind, $outcome->error]);
    }

    public function testAListenerThatHasItsOwnWayOfTryingAgainIsBelieved(): void
    {
        $kernel = $this->shop();

        self::assertSame('handled', $this->one($kernel, new Pay('retried elsewhere'))->kind);
        self::assertSame([], [...$this->transport($kernel, 'failed')->get()]);
    }

    /** Symfony leaves such a message in its transport. */
    public function testAMessageThatAListenerKeepsFromBeingHandledComesAgain(): void
    {
        $outcome = $this->one($this->shop(), new Pay('vetoed'));

        self::assertSame(['release', 10_000], [$outcome->kind, $outcome->delayMs]);
    }

    public function testAWorkerThatIsStoppedBeforeItHasTheMessageReleasesIt(): void
    {
        $kernel = $this->shop();
        $this->till($kernel)->stopsWorkers = true;

        self::assertSame([['release', 0]], array_map(static fn (Outcome $outcome): array => [$outcome->kind, $outcome->delayMs], $this->runAll($kernel, $this->job(new Pay('card')), $this->job(new Pay('cash'), '8'))));
        self::assertSame([], $this->till($kernel)->seen);
    }

    /** `messenger:stop-workers` asks those to stop that were there before. */
    public function testStopWorkersStopsNoRequest(): void
    {
        $kernel = $this->shop();
        $application = new Application($kernel);
        $application->setAutoExit(false);
        self::assertSame(0, (new ApplicationTester($application))->run(['command' => 'messenger:stop-workers']));

        self::assertSame(['ack', 'ack'], $this->kinds($kernel, $this->job(new Pay('card')), $this->job(new Pay('cash'), '8')));
    }

    public function testAStopExceptionIsAFailureAndWhatComesBehindRunsElsewhere(): void
    {
        $kernel = $this->shop();

        self::assertSame(['ack', 'replace'], $this->kinds($kernel, $this->job(new Pay('card')), $this->job(new Pay('stop'), '8'), $this->job(new Pay('cash'), '9')));
        self::assertNotContains('cash', $this->till($kernel)->seen);
    }

    /** With its bytes, and the next one runs. */
    public function testWhatCannotBeDecodedIsADeadLetter(): void
    {
        $kernel = $this->shop();
        $gone = new Job('8', 'async', addslashes(str_replace('stdClass', 'GoneClas', serialize(new Envelope(new \stdClass())))), format: 'messenger');
        $outcomes = $this->runAll($kernel, new Job('7', 'async', 'garbage', format: 'messenger'), $gone, $this->job(new Pay('card'), '9'));

        self::assertSame(['bury', 'bury', 'ack'], array_column($outcomes, 'kind'));
        self::assertStringStartsWith('DECODE_FAILED: Symfony\Component\Messenger\Exception\MessageDecodingFailedException: ', (string) $outcomes[0]->error);
        self::assertStringContainsString('GoneClas', (string) $outcomes[1]->error);
    }

    public function testAnErrorOfTheSerializerIsARetryAndAnErrorOfTheConfigurationHoldsTheQueueBack(): void
    {
        $messenger = self::FAILED;
        $messenger['transports']['async']['serializer'] = ThrowingSerializer::class;
        $kernel = $this->shop($messenger, static function (ContainerConfigurator $container): void {
            $container->services()->set(ThrowingSerializer::class);
        });
        [$bug, $secret, $whole] = $this->runAll($kernel, new Job('7', 'async', 'bug', format: 'messenger'), new Job('8', 'async', 'secret', format: 'messenger'), $this->job(new Pay('card'), '9'));

        self::assertSame(['retry', 'TypeError: as told'], [$bug->kind, $bug->error]);
        self::assertSame(['release', 10_000, EnvNotFoundException::class.': APP_SECRET is missing'], [$secret->kind, $secret->delayMs, $secret->error]);
        self::assertStringContainsString('"queue_pause_ms":10000', $secret->toRecord('8'));
        self::assertSame('ack', $whole->kind);
    }

    public function testATransportThatIsNotThereHoldsTheQueueBackAndSaysWhichOnesThereAre(): void
    {
        $outcome = $this->one($this->shop(), new Pay('card'), 'mail');

        self::assertSame(['release', 10_000], [$outcome->kind, $outcome->delayMs]);
        self::assertStringContainsString('There is no transport "mail" in "framework.messenger.transports", and the worker has a queue of this name. There are: async, failed.', (string) $outcome->error);
        self::assertStringContainsString('"queue_pause_ms":10000', $outcome->toRecord('7'));
    }

    public function testWithoutMessengerOrForAnotherFrameworkTheQueueIsHeldBack(): void
    {
        $kernel = $this->boot($this->sqlite(), static function (ContainerConfigurator $container): void {
            self::quiet($container);
            $container->extension('framework', ['messenger' => ['enabled' => false]]);
        });
        foreach (['messenger' => 'which is not enabled here', 'laravel' => 'messages of the format "laravel"'] as $format => $reason) {
            $outcome = $this->runAll($kernel, new Job('7', 'async', 'x', format: $format))[0];
            self::assertSame('release', $outcome->kind);
            self::assertStringContainsString($reason, (string) $outcome->error);
        }
        self::assertSame('retry', $this->died($kernel, new Job('7', 'async', 'x', format: 'messenger'))->kind);
        self::assertSame([], $this->runner($kernel)->facts());
    }

    public function testServicesAreResetBetweenTwoMessages(): void
    {
        $kernel = $this->shop();
        $this->runAll($kernel, $this->job(new Pay('card')), $this->job(new Pay('cash'), '8'));

        self::assertSame(['card is the 1. since a reset', 'cash is the 1. since a reset'], $kernel->recorded());
    }

    public function testABatchHandlersMessagesHaveTheirOutcomesAsTheyFall(): void
    {
        $kernel = $this->withBatches(5);
        $jobs = [];
        for ($i = 1; $i <= 12; ++$i) {
            $jobs[] = $this->job(new \ArrayObject([0 === $i % 4 ? 'bad' : 'good']), (string) $i);
        }
        $outcomes = $this->runAll($kernel, ...$jobs);

        self::assertSame([5, 5, 2], $kernel->getContainer()->get(InBatches::class)->sizes);
        self::assertSame(array_map(strval(...), range(1, 12)), $this->settled);
        foreach ($outcomes as $i => $outcome) {
            self::assertSame(0 === ($i + 1) % 4 ? 'replace' : 'ack', $outcome->kind);
        }
    }

    /** 5.4 says nothing of the forgotten one; newer versions make a failure of one message of its batch. */
    public function testAMessageThatABatchHandlerForgetsIsNotDone(): void
    {
        $outcomes = $this->runAll($this->withBatches(2), $this->job(new \ArrayObject(['forgotten'])), $this->job(new \ArrayObject(['good']), '8'));
        self::assertCount(2, $outcomes);
        self::assertContains($outcomes[array_search('7', $this->settled, true)]->kind, ['retry', 'replace']);
    }

    /** The worker of 5.4 skips one of two batch handlers that are pending at its end; the newest 6.4 and 7.4 flush both. */
    public function testAMessageWhoseBatchHandlerIsNeverFlushedIsReleased(): void
    {
        $kernel = $this->withBatches(10);
        $kinds = $this->kinds($kernel, $this->job(new \ArrayObject(['good'])), $this->job(new \ArrayIterator(['other']), '8'));

        self::assertSame(['7', '8'], $this->settled);
        self::assertSame(['ack', Kernel::VERSION_ID < 60000 ? 'release' : 'ack'], $kinds);
        // An acknowledger that was not called throws in its destructor.
        $kernel->getContainer()->get(InOtherBatches::class)->flush(true);
    }

    public function testABatchHandlerThatLeavesATransactionOpenHasHandledNothing(): void
    {
        $kernel = $this->withBatches(2);
        $kinds = $this->kinds($kernel, $this->job(new \ArrayObject(['good'])), $this->job(new \ArrayObject(['open']), '8'), $this->job(new Pay('card'), '9'));

        self::assertFalse($kernel->getContainer()->get(self::CONNECTION)->isTransactionActive());
        self::assertSame(['7', '8', '9'], $this->settled);
        self::assertContains($kinds[0], ['retry', 'replace']);
        self::assertContains($kinds[1], ['retry', 'replace']);
        self::assertSame('ack', $kinds[2]);
    }

    public function testAnOpenTransactionIsRolledBackAndFailsItsOwnMessageOnly(): void
    {
        $kernel = $this->shop();
        $outcomes = $this->runAll($kernel, $this->job(new Pay('open')), $this->job(new Pay('open and throw'), '8'), $this->job(new Pay('card'), '9'));

        self::assertSame(['replace', 'replace', 'ack'], array_column($outcomes, 'kind'));
        self::assertSame([], $this->decoded($outcomes[0])->all(HandledStamp::class), 'all handlers run again');
        self::assertFalse($kernel->getContainer()->get(self::CONNECTION)->isTransactionActive());
    }

    public function testMessagesOfSeveralTransportsAreHandledInOneRequest(): void
    {
        $messenger = self::FAILED;
        $messenger['transports']['high'] = 'elsewhere://';
        $kernel = $this->shop($messenger);
        $outcomes = $this->kinds($kernel, $this->job(new Pay('card')), $this->job(new Pay('throw'), '8', 'high'), $this->job(new Pay('cash'), '9'));

        self::assertSame(['ack', 'replace', 'ack'], $outcomes);
        self::assertSame(['received by async', 'received by high', 'received by async'], array_values(preg_grep('/^received/', $this->till($kernel)->seen)));
    }

    public function testWhatAHandlerSendsIsReallySentAlsoToItsOwnTransport(): void
    {
        $messenger = self::FAILED;
        $messenger['transports']['async']['dsn'] = 'kept://';
        $kernel = $this->shop($messenger);

        self::assertSame('ack', $this->one($kernel, new Pay('send'))->kind);
        [$sent] = [...$this->transport($kernel, 'async')->get()];
        self::assertEquals(new Pay('sent by a handler'), $sent->getMessage());
    }

    /** Both may run at the same time. */
    public function testMessengersOwnCommandSendsItsCopiesAsEver(): void
    {
        $messenger = self::FAILED;
        $messenger['transports']['async']['dsn'] = 'kept://';
        $kernel = $this->shop($messenger);
        $this->send($kernel, new Pay('throw'));
        $application = new Application($kernel);
        $application->setAutoExit(false);
        $this->silently(static fn () => (new ApplicationTester($application))->run(['command' => 'messenger:consume', 'receivers' => ['async'], '--limit' => 1]));

        [$copy] = [...$this->transport($kernel, 'async')->get()];
        self::assertSame(1, RedeliveryStamp::getRetryCountFromEnvelope($copy));
    }

    public function testMessagesAsJson(): void
    {
        $messenger = self::FAILED;
        $messenger['transports']['async']['serializer'] = 'messenger.transport.symfony_serializer';
        $kernel = $this->shop($messenger, static function (ContainerConfigurator $container): void {
            $container->extension('framework', ['serializer' => ['enabled' => true], 'property_access' => ['enabled' => true]]);
        });
        $serializer = $this->serializer($kernel, 'messenger.transport.symfony_serializer');
        $job = self::encoded($serializer, new Envelope(new Pay('throw')));
        self::assertSame(Pay::class, $job->headers['type']);
        $outcome = $this->runAll($kernel, $job)[0];

        $message = self::message($outcome);
        self::assertSame(json_decode($job->payload, true), json_decode($message['body'], true));
        self::assertSame(1, RedeliveryStamp::getRetryCountFromEnvelope($serializer->decode($message)));
        self::assertArrayHasKey('X-Message-Stamp-'.DelayStamp::class, $message['headers']);
    }

    /** Symfony 7.4 and newer sign what such a handler is sent. The copy has a signature of its own, also the one after a death. */
    public function testSignedMessages(): void
    {
        $signs = class_exists(SigningSerializer::class);
        $kernel = $this->shop(self::FAILED, static function (ContainerConfigurator $container) use ($signs): void {
            $container->services()->set(SignedWork::class)->tag('messenger.message_handler', ['handles' => \ArrayObject::class] + ($signs ? ['sign' => true] : []));
        });
        $serializer = $this->serializer($kernel, 'messenger.default_serializer');
        $job = self::encoded($serializer, new Envelope(new \ArrayObject(['throw'])));
        self::assertSame($signs, isset($job->headers['Body-Sign']));
        foreach ([$this->runAll($kernel, $job)[0], $this->died($kernel, $job)] as $outcome) {
            self::assertSame('replace', $outcome->kind, (string) $outcome->error);
            self::assertSame($signs, isset(self::message($outcome)['headers']['Body-Sign']));
            self::assertSame(1, RedeliveryStamp::getRetryCountFromEnvelope($serializer->decode(self::message($outcome))));
        }

        if ($signs) {
            $forged = new Job('7', 'async', $job->payload, format: 'messenger', headers: ['Body-Sign' => 'forged'] + $job->headers);
            self::assertSame('bury', $this->runAll($kernel, $forged)[0]->kind);
        }
    }

    public function testADeathGoesTheWayOfAnExceptionAndCallsNoHandler(): void
    {
        $kernel = $this->shop();
        $job = $this->job(new Pay('card'));
        for ($retry = 1; $retry <= 2; ++$retry) {
            $outcome = $this->died($kernel, $job);
            self::assertSame(['replace', JobCrashed::class.': JOB_CRASHED: The PHP process died'], [$outcome->kind, $outcome->error]);
            $copy = $this->decoded($outcome);
            self::assertSame($retry, RedeliveryStamp::getRetryCountFromEnvelope($copy));
            self::assertCount(1, $copy->all(ErrorDetailsStamp::class), 'the same text is kept once');
            $job = $this->replaced($outcome);
        }
        self::assertSame('handled', $this->died($kernel, $job, new Failure('f2', 'JOB_TIMEOUT', 'The job took longer than 60000 ms'))->kind);
        self::assertSame([], array_values(preg_grep('/card/', $this->till($kernel)->seen)));
        self::assertSame(['failed, will retry', 'failed, will retry', 'failed'], array_values(preg_grep('/^failed/', $this->till($kernel)->seen)));

        [$failed] = [...$this->transport($kernel, 'failed')->get()];
        $errors = array_map(static fn (ErrorDetailsStamp $stamp): string => $stamp->getExceptionMessage(), $failed->all(ErrorDetailsStamp::class));
        self::assertSame(['JOB_CRASHED: The PHP process died', 'JOB_TIMEOUT: The job took longer than 60000 ms'], $errors, 'another text is another error');
        $application = new Application($kernel);
        $application->setAutoExit(false);
        $tester = new ApplicationTester($application);
        $tester->run(['command' => 'messenger:failed:show', 'id' => 1, '-vv' => true]);
        foreach (['JOB_TIMEOUT: The job took longer than 60000 ms', JobCrashed::class, 'fervo-worker (JOB_TIMEOUT: The job took longer than 60000 ms)'] as $text) {
            self::assertStringContainsString($text, (string) preg_replace('/\s+/', ' ', $tester->getDisplay()));
        }
    }

    public function testADeathWithoutAFailureTransportIsADeadLetterAndNothingElseIsAnAnswer(): void
    {
        $kernel = $this->shop(self::WITHOUT);

        self::assertSame('bury', $this->died($kernel, $this->job(new Pay('card')))->kind);
        self::assertSame('bury', $this->died($kernel, new Job('7', 'async', 'garbage', format: 'messenger'))->kind);
        // Nothing of it was run, but before: it counts.
        foreach ([$this->job(new Pay('vetoed')), $this->job(new Pay('card'), '7', 'mail')] as $job) {
            self::assertSame('retry', $this->died($kernel, $job)->kind);
        }
        $this->till($kernel)->stopsWorkers = true;
        self::assertSame('retry', $this->died($kernel, $this->job(new Pay('card')))->kind);
    }

    /** Of what Messenger tells by its own events, ours say nothing. */
    public function testEachFailureIsToldOnce(): void
    {
        $kernel = $this->shop(self::WITHOUT, static function (ContainerConfigurator $container): void {
            $container->services()->set(ToldFailures::class)->public()->tag('kernel.event_listener', ['event' => JobFailed::class, 'method' => '__invoke']);
        });
        $this->one($kernel, new Pay('throw'));
        $this->one($kernel, new Pay('listener of handled throws'));
        $this->one($kernel, new Pay('card'), 'mail');
        $this->runAll($kernel, new Job('7', 'async', 'garbage', format: 'messenger'));

        self::assertSame(['retry LogicException', 'release NotDeployedException', 'bury MessageDecodingFailedException'], $kernel->getContainer()->get(ToldFailures::class)->seen);
    }

    public function testTheCheckIsToldOfTheTransports(): void
    {
        $_SERVER['FERVO_TEST_DSN'] = 'doctrine://default?queue_name=mail&redeliver_timeout=60';
        $facts = $this->runner($this->shop(['failure_transport' => 'failed', 'transports' => [
            'failed' => 'kept://',
            'async' => ['dsn' => '%env(FERVO_TEST_DSN)%', 'options' => ['table_name' => 'shop_messages', 'queue_name' => 'other']],
            'unset' => '%env(FERVO_TEST_UNSET)%',
        ]]))->facts();
        unset($_SERVER['FERVO_TEST_DSN']);

        self::assertSame(Kernel::VERSION, $facts['messenger']['symfony']);
        self::assertSame(['failed'], $facts['messenger']['failure_transports']);
        self::assertNull($facts['messenger']['lock']);
        self::assertSame(\PHP_VERSION, $facts['messenger']['php']['version']);
        self::assertSame([], $facts['messenger']['files']['unwritable']);
        $transports = $facts['messenger']['transports'];
        self::assertSame(['kind' => 'kept'], $transports['failed']);
        self::assertSame(['kind' => 'doctrine', 'connection' => 'default', 'table' => 'shop_messages', 'queue_name' => 'mail', 'redeliver_timeout_ms' => 60_000], $transports['async']);
        self::assertSame(['error' => 'Environment variable not found: "FERVO_TEST_UNSET".'], $transports['unset']);
    }

    /** @param array<string, mixed> $messenger */
    private function shop(array $messenger = self::FAILED, ?\Closure $configure = null): TestKernel
    {
        return $this->application($messenger, configure: static function (ContainerConfigurator $container) use ($configure): void {
            $container->services()->set(KeptTransports::class)->tag('messenger.transport_factory');
            if (null !== $configure) {
                $configure($container);
            }
        });
    }

    private function withBatches(int $size): TestKernel
    {
        return $this->shop(self::FAILED, static function (ContainerConfigurator $container) use ($size): void {
            $container->services()->set(InBatches::class)->public()->args([$size, service_closure(self::CONNECTION)])
                ->tag('messenger.message_handler', ['handles' => \ArrayObject::class]);
            $container->services()->set(InOtherBatches::class)->public()->tag('messenger.message_handler', ['handles' => \ArrayIterator::class]);
        });
    }

    private function job(object $message, string $id = '7', string $queue = 'async'): Job
    {
        return self::encoded(new PhpSerializer(), new Envelope($message, [new BusNameStamp('messenger.bus.default')]), $id, $queue);
    }

    private static function encoded(SerializerInterface $serializer, Envelope $envelope, string $id = '7', string $queue = 'async'): Job
    {
        $encoded = $serializer->encode($envelope);

        return new Job($id, $queue, $encoded['body'], format: 'messenger', headers: $encoded['headers'] ?? []);
    }

    /** The message that takes a job's place, when its turn has come. */
    private function replaced(Outcome $outcome): Job
    {
        ['headers' => $headers, 'body' => $body] = self::message($outcome);

        return new Job('7', 'async', $body, format: 'messenger', headers: $headers);
    }

    private function decoded(Outcome $outcome): Envelope
    {
        return (new PhpSerializer())->decode(self::message($outcome));
    }

    private function one(TestKernel $kernel, object $message, string $queue = 'async'): Outcome
    {
        $outcomes = $this->runAll($kernel, $this->job($message, '7', $queue));
        self::assertCount(1, $outcomes);

        return $outcomes[0];
    }

    /** @return list<string> */
    private function kinds(TestKernel $kernel, Job ...$jobs): array
    {
        return array_column($this->runAll($kernel, ...$jobs), 'kind');
    }

    /** @return list<Outcome> in the order in which they were told */
    private function runAll(TestKernel $kernel, Job ...$jobs): array
    {
        $outcomes = $this->settled = [];
        $settle = function (Job $job, Outcome $outcome) use (&$outcomes): void {
            self::assertNotContains($job->id, $this->settled, 'once for each');
            $this->settled[] = $job->id;
            $outcomes[] = $outcome;
        };
        $taken = (static fn (): \Generator => yield from $jobs)();
        $this->silently(fn () => $this->runner($kernel)->runAll($taken, $settle));

        return $outcomes;
    }

    private function died(TestKernel $kernel, Job $job, ?Failure $failure = null): Outcome
    {
        return $this->silently(fn (): Outcome => $this->runner($kernel)->died($job, $failure ?? new Failure('f1', 'JOB_CRASHED', 'The PHP process died')));
    }

    private function runner(TestKernel $kernel): JobRunner
    {
        return $kernel->getContainer()->get('fervo_deferred_event.runner');
    }

    private function serializer(TestKernel $kernel, string $id): SerializerInterface
    {
        $kernel->getContainer()->get('test.service_container')->get(MessageBusInterface::class);

        return $kernel->getContainer()->get('test.service_container')->get($id);
    }
}

final class ThrowingSerializer implements SerializerInterface
{
    public function decode(array $encodedEnvelope): Envelope
    {
        return match ($encodedEnvelope['body']) {
            'bug' => throw new \TypeError('as told'),
            'secret' => throw new EnvNotFoundException('APP_SECRET is missing'),
            default => (new PhpSerializer())->decode($encodedEnvelope),
        };
    }

    public function encode(Envelope $envelope): array
    {
        return (new PhpSerializer())->encode($envelope);
    }
}

final class ToldFailures
{
    /** @var list<string> */
    public array $seen = [];

    public function __invoke(JobFailed $failed): void
    {
        $this->seen[] = ($failed->willRetry ? (null === $failed->delayMs ? 'retry' : 'release') : 'bury').' '.(new \ReflectionClass($failed->error))->getShortName();
    }
}
