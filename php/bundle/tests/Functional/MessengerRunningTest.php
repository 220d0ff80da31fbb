<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Functional;

use Fervo\DeferredEventBundle\DeferredEventQueueInterface;
use Fervo\DeferredEventBundle\Event\JobFailed;
use Fervo\DeferredEventBundle\Messenger\EncodedMessage;
use Fervo\DeferredEventBundle\Messenger\MessageCodec;
use Fervo\DeferredEventBundle\Payload\Signer;
use Fervo\DeferredEventBundle\Tests\Fixtures\InBatches;
use Fervo\DeferredEventBundle\Tests\Fixtures\KeptTransports;
use Fervo\DeferredEventBundle\Tests\Fixtures\Pay;
use Fervo\DeferredEventBundle\Tests\Fixtures\SignedWork;
use Fervo\DeferredEventBundle\Tests\Fixtures\SwitchableBackend;
use Fervo\DeferredEventBundle\Tests\Fixtures\TestKernel;
use Fervo\DeferredEventBundle\Tests\Support\Queue;
use Psr\Log\AbstractLogger;
use Symfony\Bundle\FrameworkBundle\Console\Application;
use Symfony\Component\Console\Tester\ApplicationTester;
use Symfony\Component\DependencyInjection\Loader\Configurator\ContainerConfigurator;
use Symfony\Component\Messenger\Envelope;
use Symfony\Component\Messenger\Event\WorkerMessageFailedEvent;
use Symfony\Component\Messenger\Event\WorkerMessageHandledEvent;
use Symfony\Component\Messenger\Exception\TransportException;
use Symfony\Component\Messenger\MessageBusInterface;
use Symfony\Component\Messenger\Middleware\MiddlewareInterface;
use Symfony\Component\Messenger\Middleware\StackInterface;
use Symfony\Component\Messenger\Stamp\HandledStamp;
use Symfony\Component\Messenger\Stamp\RedeliveryStamp;
use Symfony\Component\Messenger\Stamp\SentToFailureTransportStamp;
use Symfony\Component\Messenger\Transport\Serialization\SigningSerializer;

use function Symfony\Component\DependencyInjection\Loader\Configurator\service;
use function Symfony\Component\DependencyInjection\Loader\Configurator\service_closure;

/** The transport fervo:// of Messenger: from the queue to the handler, and what becomes of the job. */
final class MessengerRunningTest extends MessengerTestCase
{
    private const FAILED = ['failure_transport' => 'failed', 'transports' => [
        'failed' => 'kept://',
        'async' => ['dsn' => 'fervo://payments?attempts=9&priority=7', 'retry_strategy' => ['max_retries' => 2, 'delay' => 1000, 'multiplier' => 2]],
    ]];

    protected function setUp(): void
    {
        $_SERVER = ['FERVO_JOB_ID' => '42', 'FERVO_QUEUE' => 'payments'] + $_SERVER;
    }

    protected function tearDown(): void
    {
        unset($_SERVER['FERVO_JOB_ID'], $_SERVER['FERVO_QUEUE']);
        parent::tearDown();
    }

    public function testAMessageIsHandledByMessengersWorker(): void
    {
        $kernel = $this->application();
        $this->send($kernel, new Pay('binary', "\xff\0"));

        self::assertSame('ack', $this->runNext($kernel)->kind);
        self::assertSame(['received by async', 'binary', 'ff00', 'binary (2)', 'handled'], $this->till($kernel)->seen);
        self::assertSame('42', $this->till($kernel)->lastId);
        self::assertSame([], Queue::rows($this->queue));
    }

    public function testAFailureReplacesTheMessageAsTheRetryStrategySaysAndThenSendsItToTheFailureTransport(): void
    {
        $kernel = $this->withFailureTransport(self::FAILED);
        $this->send($kernel, new Pay('throw', "\xff"));
        foreach ([1 => 1000, 2 => 2000] as $retry => $delayMs) {
            $before = (int) (microtime(true) * 1000);
            self::assertSame('replace', $this->runNext($kernel)->kind);
            $after = (int) (microtime(true) * 1000);

            [$row] = Queue::rows($this->queue);
            self::assertSame(['payments', 7, 9], [$row['queue'], (int) $row['priority'], (int) $row['max_attempts']]);
            // From 7.1 on, with a jitter of a tenth.
            self::assertGreaterThanOrEqual($before + 0.9 * $delayMs - 1, (int) $row['due_at']);
            self::assertLessThanOrEqual($after + 1.1 * $delayMs + 1, (int) $row['due_at']);
            $envelope = $this->envelope();
            self::assertEquals(new Pay('throw', "\xff"), $envelope->getMessage());
            self::assertSame($retry, RedeliveryStamp::getRetryCountFromEnvelope($envelope));
        }

        self::assertSame('handled', $this->runNext($kernel)->kind);
        self::assertSame([], Queue::rows($this->queue));
        [$failed] = [...$this->transport($kernel, 'failed')->get()];
        self::assertSame('async', $failed->last(SentToFailureTransportStamp::class)?->getOriginalReceiverName());
        self::assertSame(['failed, will retry', 'failed, will retry', 'failed'], array_values(preg_grep('/^failed/', $this->till($kernel)->seen)));
    }

    public function testWithoutAFailureTransportTheJobIsADeadLetterWithTheHandlersError(): void
    {
        $kernel = $this->application(['transports' => ['async' => ['dsn' => 'fervo://payments', 'retry_strategy' => ['max_retries' => 1]]]]);
        $this->send($kernel, new Pay('throw'));
        self::assertSame('replace', $this->runNext($kernel)->kind);
        $outcome = $this->runNext($kernel);

        self::assertSame(['bury', 'DomainException: The till is shut'], [$outcome->kind, $outcome->error]);
        self::assertSame([], Queue::rows($this->queue));
    }

    public function testMessengersMarksOnExceptionsAreHeeded(): void
    {
        $kernel = $this->withFailureTransport(self::FAILED);
        $this->send($kernel, new Pay('never again'));
        self::assertSame('handled', $this->runNext($kernel)->kind);
        self::assertSame([], Queue::rows($this->queue));
        self::assertCount(1, [...$this->transport($kernel, 'failed')->get()]);

        $this->send($kernel, new Pay('recover'));
        for ($i = 0; $i < 4; ++$i) {
            self::assertSame('replace', $this->runNext($kernel)->kind);
        }
        self::assertCount(1, Queue::rows($this->queue), 'without end');
    }

    public function testAHandlerThatHasSucceededIsNotCalledAgain(): void
    {
        $kernel = $this->application();
        $this->send($kernel, new Pay('second throws'));
        $this->runNext($kernel);
        $this->till($kernel)->seen = [];
        $this->runNext($kernel);

        self::assertSame(['received by async', 'second throws (2)', 'failed, will retry'], $this->till($kernel)->seen);
    }

    public function testACopyThatCannotBeSentFailsTheJobWhichKeepsTheMessage(): void
    {
        $kernel = $this->application([], ['backend' => ['type' => 'service', 'service' => 'switchable']], static function (ContainerConfigurator $container): void {
            $container->services()->set('switchable', SwitchableBackend::class)->public();
        });
        $backend = $kernel->getContainer()->get('switchable');
        $this->send($kernel, new Pay('throw'));
        $backend->isAway = true;
        $outcome = $this->runPayload($kernel, $backend->sent[0]);

        self::assertSame('retry', $outcome->kind);
        self::assertStringContainsString('TransportException: Cannot send a message', (string) $outcome->error);
    }

    public function testAFailureTransportThatIsAwayFailsTheJobWhichKeepsTheMessage(): void
    {
        $messenger = self::FAILED;
        $messenger['transports']['failed'] = 'broken://';
        $kernel = $this->withFailureTransport($messenger);
        $this->send($kernel, new Pay('never again'));
        $outcome = $this->runNext($kernel);

        self::assertSame(['retry', TransportException::class.': It is broken'], [$outcome->kind, $outcome->error]);
    }

    /** A copy is in the queue: to run the job again would do it twice. */
    public function testAListenerThatThrowsBehindTheCopyChangesNothing(): void
    {
        $kernel = $this->application();
        $this->send($kernel, new Pay('throw the other'));

        self::assertSame('replace', $this->runNext($kernel)->kind);
        self::assertCount(1, Queue::rows($this->queue));
    }

    public function testAListenerOfHandledThatThrowsFailsTheJob(): void
    {
        $kernel = $this->application();
        $this->send($kernel, new Pay('listener of handled throws'));
        $outcome = $this->runNext($kernel);

        self::assertSame('retry', $outcome->kind);
        self::assertStringContainsString('A listener of Messenger\'s events failed', (string) $outcome->error);
    }

    public function testAListenerThatKeepsAMessageFromBeingHandledIsTold(): void
    {
        $kernel = $this->application();
        $this->send($kernel, new Pay('vetoed'));
        $outcome = $this->runNext($kernel);

        self::assertSame(['release', 10_000], [$outcome->kind, $outcome->delayMs]);
        self::assertStringContainsString('did not let a message', (string) $outcome->error);
    }

    /** Symfony's command finds all that it needs in the message; it is no retry of its former transport. */
    public function testWhatIsInTheFailureTransportCanBeTriedAgain(): void
    {
        $kernel = $this->withFailureTransport(self::FAILED);
        $this->send($kernel, new Pay('open till', "\xff"));
        $this->till($kernel)->isShut = true;
        self::assertSame('handled', $this->runNext($kernel)->kind);
        self::assertSame(['open till'], array_values(preg_grep('/^open till$/', $this->till($kernel)->seen)));

        $this->till($kernel)->isShut = false;
        $application = new Application($kernel);
        $application->setAutoExit(false);
        $tester = new ApplicationTester($application);
        self::assertSame(0, $tester->run(['command' => 'messenger:failed:retry', 'id' => ['1'], '--force' => true]), $tester->getDisplay());
        self::assertSame(['open till', 'open till'], array_values(preg_grep('/^open till$/', $this->till($kernel)->seen)));
        self::assertSame([], [...$this->transport($kernel, 'failed')->get()]);
        self::assertSame([], Queue::rows($this->queue));
    }

    public function testAListenerThatHasItsOwnWayOfTryingAgainIsBelieved(): void
    {
        $kernel = $this->withFailureTransport(self::FAILED);
        $this->send($kernel, new Pay('retried elsewhere'));

        self::assertSame('handled', $this->runNext($kernel)->kind);
        self::assertSame([], [...$this->transport($kernel, 'failed')->get()]);
    }

    /** The application's, in the place of Symfony's: nobody knows what its arguments are. */
    public function testARetryListenerOfTheApplicationsOwnIsBelieved(): void
    {
        $kernel = $this->application(configure: static function (ContainerConfigurator $container): void {
            $container->services()->set('messenger.retry.send_failed_message_for_retry_listener', RetriesByItself::class)
                ->arg('$queue', service('fervo_dispatch.queue'))
                ->tag('kernel.event_listener', ['event' => WorkerMessageFailedEvent::class, 'method' => '__invoke']);
        });
        $this->send($kernel, new Pay('throw'));

        self::assertSame('handled', $this->runNext($kernel)->kind);
        self::assertCount(1, Queue::rows($this->queue));
    }

    public function testAWorkerThatIsStoppedBeforeItHasTheMessageReleasesTheJob(): void
    {
        $kernel = $this->application();
        $this->send($kernel, new Pay('card'));
        $this->till($kernel)->stopsWorkers = true;
        $outcome = $this->runNext($kernel);

        self::assertSame(['release', 0], [$outcome->kind, $outcome->delayMs]);
        self::assertStringContainsString('was stopped by a listener before it took a message', (string) $outcome->error);
        self::assertSame([], $this->till($kernel)->seen);
    }

    public function testAStopExceptionIsAFailureAndTheNextMessageOfThisProcessRuns(): void
    {
        $kernel = $this->application();
        $this->send($kernel, new Pay('stop'));
        $this->send($kernel, new Pay('card'));

        self::assertSame(['replace', 'ack'], [$this->runNext($kernel)->kind, $this->runNext($kernel)->kind]);
        self::assertContains('card', $this->till($kernel)->seen);
        self::assertSame(1, RedeliveryStamp::getRetryCountFromEnvelope($this->envelope()));
    }

    /** In a batch, the next job runs in the same process. */
    public function testServicesAreResetBetweenTwoMessages(): void
    {
        $kernel = $this->application();
        $this->send($kernel, new Pay('card'));
        $this->send($kernel, new Pay('cash'));
        $this->runNext($kernel);
        $this->runNext($kernel);

        self::assertSame(['card is the 1. since a reset', 'cash is the 1. since a reset'], $kernel->recorded());
    }

    public function testAHandlersTransactionThatIsOpenIsRolledBackAndFailsTheMessage(): void
    {
        $kernel = $this->application();
        $this->send($kernel, new Pay('open'));

        self::assertSame('replace', $this->runNext($kernel)->kind);
        self::assertFalse($kernel->getContainer()->get(self::CONNECTION)->isTransactionActive());
        self::assertSame(1, RedeliveryStamp::getRetryCountFromEnvelope($this->envelope()));
    }

    public function testWhatAHandlerHasSentAndDeferredIsInTheQueueBeforeItsJobIsDone(): void
    {
        foreach (['immediately', 'on_terminate'] as $send) {
            $kernel = $this->application([], ['send' => $send]);
            foreach (['send' => 'fervo-message', 'defer' => 'fervo-event'] as $what => $kind) {
                $this->send($kernel, new Pay($what));
                $kernel->getContainer()->get('services_resetter')->reset();
                self::assertSame('ack', $this->runNext($kernel)->kind);
                self::assertSame([$kind], array_map(static fn (array $row): string => strtok($row['payload'], '/'), Queue::rows($this->queue)), $send);
                Queue::open($this->queue)->exec('DELETE FROM fervo_jobs');
            }
        }
    }

    public function testWhatAHandlerThatFailsHasHeldBackIsDroppedAndItsCopyIsNot(): void
    {
        $kernel = $this->application([], ['send' => 'on_terminate']);
        $this->send($kernel, new Pay('defer and throw'));
        $kernel->getContainer()->get('services_resetter')->reset();
        self::assertSame('replace', $this->runNext($kernel)->kind);

        self::assertCount(1, Queue::rows($this->queue));
        self::assertSame(1, RedeliveryStamp::getRetryCountFromEnvelope($this->envelope()));
    }

    /** Messenger would not call them again: by what they have done it counts as handled. */
    public function testHandlersWhoseWorkWasUndoneRunAgainWithTheOneThatFailed(): void
    {
        foreach (['first defers, second throws' => 'on_terminate', 'open and throw' => 'immediately'] as $what => $send) {
            $kernel = $this->application([], ['send' => $send]);
            $this->send($kernel, new Pay($what));
            $kernel->getContainer()->get('services_resetter')->reset();
            self::assertSame('replace', $this->runNext($kernel)->kind);
            self::assertCount(1, Queue::rows($this->queue), 'the copy, and no event');
            self::assertSame([], $this->envelope()->all(HandledStamp::class), $what);
            self::assertFalse($kernel->getContainer()->get(self::CONNECTION)->isTransactionActive());

            $this->till($kernel)->seen = [];
            $this->runNext($kernel);
            self::assertSame(['received by async', $what, $what.' (2)', 'failed, will retry'], $this->till($kernel)->seen);
            Queue::open($this->queue)->exec('DELETE FROM fervo_jobs');
        }
    }

    public function testABatchHandlerWhoseWorkIsUndoneAfterItsWordHasTheMessageAgain(): void
    {
        foreach ([1, 10] as $size) {
            foreach ([3, 0] as $retries) {
                $kernel = $this->application(
                    ['routing' => [\ArrayObject::class => 'async'], 'transports' => ['async' => ['dsn' => 'fervo://payments', 'retry_strategy' => ['max_retries' => $retries]]]],
                    configure: static function (ContainerConfigurator $container) use ($size): void {
                        $container->services()->set(InBatches::class)->public()
                            ->args([$size, service_closure(self::CONNECTION)])
                            ->tag('messenger.message_handler', ['handles' => \ArrayObject::class]);
                    },
                );
                $this->send($kernel, new \ArrayObject(['open']));
                $outcome = $this->runNext($kernel);

                $handler = $kernel->getContainer()->get(InBatches::class);
                self::assertSame(['open'], $handler->seen);
                self::assertFalse($kernel->getContainer()->get(self::CONNECTION)->isTransactionActive());
                if ([] !== Queue::rows($this->queue)) {
                    self::assertSame('replace', $outcome->kind);
                    $this->runNext($kernel);
                    self::assertSame(['open', 'open'], $handler->seen, 'the copy is handled');
                } else {
                    self::assertContains($outcome->kind, ['retry', 'bury'], "$size, $retries");
                }
                Queue::open($this->queue)->exec('DELETE FROM fervo_jobs');
            }
        }
    }

    public function testAListenerThatThrowsBehindTheLastWordChangesNothing(): void
    {
        $kernel = $this->application(['transports' => ['async' => ['dsn' => 'fervo://payments', 'retry_strategy' => ['max_retries' => 0]]]]);
        foreach (['throw' => ['bury', 'DomainException: The till is shut'], 'card' => ['ack', null]] as $what => $expected) {
            $this->send($kernel, new Pay($what));
            $this->till($kernel)->throwsWhenStopped = true;
            $outcome = $this->runNext($kernel);
            self::assertSame($expected, [$outcome->kind, $outcome->error]);
        }
    }

    public function testACopyThatMayBeInATransactionThatAListenerHasLeftFailsTheJobToo(): void
    {
        $messenger = self::FAILED;
        $messenger['transports']['async']['retry_strategy']['max_retries'] = 1;
        $kernel = $this->withFailureTransport($messenger);
        $this->send($kernel, new Pay('a listener opens'));

        self::assertSame('replace', $this->runNext($kernel)->kind, 'this copy is in no database');
        self::assertFalse($kernel->getContainer()->get(self::CONNECTION)->isTransactionActive());
        $outcome = $this->runNext($kernel);
        self::assertSame('retry', $outcome->kind);
        self::assertStringContainsString('transaction', (string) $outcome->error);
        self::assertFalse($kernel->getContainer()->get(self::CONNECTION)->isTransactionActive());
    }

    /** PHP ends behind the job, and nobody would send it any more. */
    public function testAMessageIsNotDoneBeforeWhatListenersHaveDeferredIsSent(): void
    {
        $kernel = $this->application([], ['send' => 'on_terminate', 'backend' => ['type' => 'service', 'service' => 'switchable']], static function (ContainerConfigurator $container): void {
            $container->services()->set('switchable', SwitchableBackend::class)->public();
        });
        $backend = $kernel->getContainer()->get('switchable');
        $this->send($kernel, new Pay('a listener defers'));
        $kernel->getContainer()->get('services_resetter')->reset();
        [$payload] = $backend->sent;
        $backend->isAway = true;
        $outcome = $this->runPayload($kernel, $payload);
        self::assertSame('retry', $outcome->kind);
        self::assertStringContainsString('SendFailedException', (string) $outcome->error);

        $backend->isAway = false;
        self::assertSame('ack', $this->runPayload($kernel, $payload)->kind);
        self::assertCount(2, $backend->sent, 'once, with the message itself');
    }

    /** As a command or a request that a listener runs. */
    public function testWhatEndsWithinAMessageSendsNothingOfIt(): void
    {
        $kernel = $this->application([], ['send' => 'on_terminate']);
        $this->send($kernel, new Pay('a listener defers'));
        $resetter = $kernel->getContainer()->get('services_resetter');
        $resetter->reset();
        $kernel->getContainer()->get('event_dispatcher')->addListener(WorkerMessageHandledEvent::class, static function () use ($resetter): never {
            $resetter->reset();
            throw new \DomainException('Another listener fails');
        }, -10);

        self::assertSame('retry', $this->runNext($kernel)->kind);
        self::assertSame([], Queue::rows($this->queue));
    }

    public function testABatchHandlerIsFlushedAtTheEndOfTheJob(): void
    {
        $kernel = $this->application(['routing' => [\ArrayObject::class => 'async']], configure: static function (ContainerConfigurator $container): void {
            $container->services()->set(InBatches::class)->public()->tag('messenger.message_handler', ['handles' => \ArrayObject::class]);
        });
        $this->send($kernel, new \ArrayObject(['good']));
        $this->send($kernel, new \ArrayObject(['bad']));

        self::assertSame(['ack', 'replace'], [$this->runNext($kernel)->kind, $this->runNext($kernel)->kind]);
        self::assertSame(['good', 'bad'], $kernel->getContainer()->get(InBatches::class)->seen);
        self::assertCount(1, Queue::rows($this->queue), 'the copy of the bad one');

        // Symfony 5.4 says nothing of one that the handler has forgotten; newer ones make it a failure, with a copy.
        Queue::open($this->queue)->exec('DELETE FROM fervo_jobs');
        $this->send($kernel, new \ArrayObject(['forgotten']));
        $outcome = $this->runNext($kernel);
        self::assertTrue('retry' === $outcome->kind xor 1 === \count(Queue::rows($this->queue)), 'it is not lost');
    }

    public function testAMessageGoesThroughTheBusThatItWasSentBy(): void
    {
        $kernel = $this->application(['default_bus' => 'main.bus', 'buses' => ['main.bus' => null, 'other.bus' => ['middleware' => [SeesMessages::class]]]], configure: static function (ContainerConfigurator $container): void {
            $container->services()->set(SeesMessages::class)->public();
        });
        $container = $kernel->getContainer()->get('test.service_container');
        $container->get('other.bus')->dispatch(new Pay('card'));
        $container->get(MessageBusInterface::class)->dispatch(new Pay('cash'));
        $this->runNext($kernel);
        $this->runNext($kernel);

        self::assertSame(['card', 'card'], $container->get(SeesMessages::class)->seen, 'when it was sent, and when it was handled');
    }

    /** Symfony 7.4 and newer sign what such a handler is sent; the signature travels, and the copy has its own. */
    public function testMessagesThatMessengerSigns(): void
    {
        $signs = class_exists(SigningSerializer::class);
        $kernel = $this->application(['routing' => [\ArrayObject::class => 'async']], configure: static function (ContainerConfigurator $container) use ($signs): void {
            $container->services()->set(SignedWork::class)->tag('messenger.message_handler', ['handles' => \ArrayObject::class] + ($signs ? ['sign' => true] : []));
        });
        $this->send($kernel, new \ArrayObject(['work']));
        $this->send($kernel, new \ArrayObject(['throw']));
        self::assertSame($signs, isset($this->payload(0)['headers']['Body-Sign']));

        self::assertSame(['ack', 'replace', 'replace'], [$this->runNext($kernel)->kind, $this->runNext($kernel)->kind, $this->runNext($kernel)->kind]);
        self::assertSame(2, RedeliveryStamp::getRetryCountFromEnvelope($this->envelope()));
        self::assertSame($signs, isset($this->payload(0)['headers']['Body-Sign']));
    }

    public function testWhatADeploymentCanHealIsTriedAgain(): void
    {
        $kernel = $this->application();
        $gone = $this->payloadOf('async', addslashes(str_replace('stdClass', 'GoneClas', serialize(new Envelope(new \stdClass())))));
        foreach ([
            $gone => 'MessageDecodingFailedException',
            $this->payloadOf('removed', '') => 'There is no transport "removed"',
            str_replace('fervo-message/1 ', 'fervo-message/1 0', substr_replace($gone, '', 16, 1)) => 'signed with another key',
        ] as $payload => $reason) {
            $outcome = $this->runPayload($kernel, $payload);
            self::assertSame('retry', $outcome->kind, $reason);
            self::assertStringContainsString($reason, (string) $outcome->error);
        }
        self::assertSame([], $this->till($kernel)->seen);
    }

    public function testWhatThisApplicationHasNotSignedIsDeadAndNothingOfItIsRead(): void
    {
        $kernel = $this->application(configure: static function (ContainerConfigurator $container): void {
            $container->services()->set('logger', LastLine::class)->public();
        });
        $good = $this->payloadOf('async', addslashes(serialize(new Envelope(new Pay('card')))));
        foreach ([$good.' ', substr($good, 0, -1), "fervo-message/1 \n".explode("\n", $good)[1], 'fervo-event'.substr($good, 13)] as $payload) {
            self::assertSame('fervo-event' === substr($payload, 0, 11) ? 'retry' : 'bury', $this->runPayload($kernel, $payload)->kind);
        }
        self::assertSame([], $this->till($kernel)->seen);

        self::assertSame('ack', $this->runPayload($kernel, $good)->kind, 'the signature is not what was wrong');
    }

    /** Of what Messenger tells by its own events, ours say nothing; a dead letter is in the log with its job all the same. */
    public function testEachFailureIsToldOnce(): void
    {
        $kernel = $this->application(configure: static function (ContainerConfigurator $container): void {
            $container->services()->set('logger', LastLine::class)->public();
            $container->services()->set(FailedJobs::class)->public()
                ->tag('kernel.event_listener', ['event' => JobFailed::class, 'method' => '__invoke']);
        });
        $this->send($kernel, new Pay('never again'));
        $this->runNext($kernel);
        self::assertSame([], $kernel->getContainer()->get(FailedJobs::class)->seen);
        self::assertSame('error: job 42, '.Pay::class, $kernel->getContainer()->get('logger')->last);

        $this->send($kernel, new Pay('listener of handled throws'));
        $this->runNext($kernel);
        $this->runPayload($kernel, 'fervo-message/1 forged');
        self::assertSame(['42: '.Pay::class.', again', '42: , dead'], $kernel->getContainer()->get(FailedJobs::class)->seen);
    }

    /** What was sent by fervo:// runs also after the transport's DSN has been changed to another. */
    public function testAMessageOfATransportThatHasMovedAwayIsHandled(): void
    {
        $this->send($this->application(), new Pay('card'));
        $payload = Queue::rows($this->queue)[0]['payload'];
        $kernel = $this->application(['transports' => ['async' => 'in-memory://']]);

        self::assertSame('ack', $this->runPayload($kernel, $payload)->kind);
        self::assertContains('card', $this->till($kernel)->seen);
    }

    /** @param array<string, mixed> $messenger */
    private function withFailureTransport(array $messenger): TestKernel
    {
        return $this->application($messenger, configure: static function (ContainerConfigurator $container): void {
            $container->services()->set(KeptTransports::class)->tag('messenger.transport_factory');
        });
    }

    private function payloadOf(string $transport, string $body): string
    {
        return (new MessageCodec(new Signer('s3cret', [], Signer::MESSAGE)))->encode(new EncodedMessage('Foo', $transport, ['body' => $body, 'headers' => []]));
    }
}

final class SeesMessages implements MiddlewareInterface
{
    /** @var list<string> */
    public array $seen = [];

    public function handle(Envelope $envelope, StackInterface $stack): Envelope
    {
        $this->seen[] = $envelope->getMessage()->what;

        return $stack->next()->handle($envelope, $stack);
    }
}

final class RetriesByItself
{
    public function __construct(private readonly DeferredEventQueueInterface $queue)
    {
    }

    public function __invoke(WorkerMessageFailedEvent $event): void
    {
        $this->queue->deferEvent($event->getEnvelope()->getMessage());
        $event->setForRetry();
    }
}

final class FailedJobs
{
    /** @var list<string> */
    public array $seen = [];

    public function __invoke(JobFailed $failed): void
    {
        $this->seen[] = $failed->job->id.': '.$failed->eventName.', '.($failed->willRetry ? 'again' : 'dead');
    }
}

final class LastLine extends AbstractLogger
{
    public string $last = '';

    /** @param array<string, mixed> $context */
    public function log($level, $message, array $context = []): void
    {
        if (isset($context['job'])) {
            $this->last = "$level: job {$context['job']}, ".($context['event'] ?? '');
        }
    }
}
