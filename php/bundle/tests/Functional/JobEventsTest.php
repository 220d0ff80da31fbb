<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Functional;

use Fervo\DeferredEventBundle\Event\JobFailed;
use Fervo\DeferredEventBundle\Event\JobHandled;
use Fervo\DeferredEventBundle\Event\JobReceived;
use Fervo\DeferredEventBundle\Exception\UnrecoverableException;
use Fervo\DeferredEventBundle\Tests\Fixtures\TestKernel;
use Fervo\Runner\Job;
use Fervo\Runner\Outcome;
use Psr\Log\AbstractLogger;
use Symfony\Component\DependencyInjection\Loader\Configurator\ContainerConfigurator;

/** What monitors hang on: the events before and after each job, and the log. */
final class JobEventsTest extends KernelTestCase
{
    private const VARIABLES = ['FERVO_JOB_ID' => '42', 'FERVO_QUEUE' => 'mail', 'FERVO_ATTEMPT' => '2', 'FERVO_MAX_ATTEMPTS' => '3'];

    protected function setUp(): void
    {
        $_SERVER = self::VARIABLES + $_SERVER;
    }

    protected function tearDown(): void
    {
        $_SERVER = array_diff_key($_SERVER, self::VARIABLES);
        parent::tearDown();
    }

    public function testAJobIsToldBeforeItBeginsAndWhenItIsDone(): void
    {
        $kernel = $this->application();

        self::assertSame('ack', $this->job($kernel, 'work')->kind);
        self::assertSame([
            'received 42 of mail, try 2 of 3: doing work',
            'work',
            'handled 42 of mail, try 2 of 3: doing work',
        ], $kernel->getContainer()->get(Monitor::class)->seen);
    }

    public function testAJobThatFailsIsToldWithItsErrorAndWhetherItIsTriedAgain(): void
    {
        $kernel = $this->application();
        $monitor = $kernel->getContainer()->get(Monitor::class);

        $this->job($kernel, 'throw');
        self::assertSame('failed 42 of mail, try 2 of 3: doing throw: DomainException, will be tried again', end($monitor->seen));
        $this->job($kernel, 'never again');
        self::assertSame('failed 42 of mail, try 2 of 3: doing never again: UnrecoverableException, is dead', end($monitor->seen));
        $_SERVER['FERVO_ATTEMPT'] = '3';
        $this->job($kernel, 'throw');
        self::assertSame('failed 42 of mail, try 3 of 3: doing throw: DomainException, is dead', end($monitor->seen));
        self::assertCount(3, preg_grep('/^received/', $monitor->seen));
        self::assertSame([], preg_grep('/^handled/', $monitor->seen));
    }

    public function testAPayloadThatCannotBeReadIsToldAsFailedWithoutAnEvent(): void
    {
        $kernel = $this->application();
        $this->silently(static fn (): Outcome => $kernel->getContainer()->get('fervo_deferred_event.runner')->run(Job::fromParams($_SERVER, 'forged')));

        self::assertSame(['failed 42 of mail, try 2 of 3: nothing: InvalidSignatureException, is dead'], $kernel->getContainer()->get(Monitor::class)->seen);
    }

    public function testWhatIsThrownBeforeAJobFailsItAndWhatIsThrownAfterItChangesNothing(): void
    {
        $kernel = $this->application();
        $monitor = $kernel->getContainer()->get(Monitor::class);

        $monitor->throwsAt = JobReceived::class;
        self::assertSame('retry', $this->job($kernel, 'work')->kind);
        self::assertNotContains('work', $monitor->seen);
        $monitor->throwsAt = JobHandled::class;
        self::assertSame('ack', $this->job($kernel, 'work')->kind);
        $monitor->throwsAt = JobFailed::class;
        $outcome = $this->job($kernel, 'throw');
        self::assertSame(['retry', 'DomainException: as told'], [$outcome->kind, $outcome->error]);
    }

    public function testTheLogHasAWarningForATryAndAnErrorForTheLastWithWhatIdentifiesTheJob(): void
    {
        $kernel = $this->application();
        $logger = $kernel->getContainer()->get('logger');

        $this->job($kernel, 'throw');
        $_SERVER['FERVO_ATTEMPT'] = '3';
        $this->job($kernel, 'throw');
        self::assertSame([
            'warning: 42 of mail, attempt 2: doing, all listeners, DomainException: as told',
            'error: 42 of mail, attempt 3: doing, all listeners, DomainException: as told',
        ], $logger->lines);

        $logger->lines = [];
        $this->job($kernel, 'never again', Monitor::class.'::work');
        $this->job($kernel, 'work', 'gone::away');
        $_SERVER['FERVO_ATTEMPT'] = '1';
        $this->job($kernel, 'work', name: 'nobody.listens');
        self::assertSame([
            'error: 42 of mail, attempt 3: doing, '.Monitor::class.'::work, Fervo\DeferredEventBundle\Exception\UnrecoverableException: as told',
            'error: 42 of mail, attempt 3: doing, gone::away, Fervo\DeferredEventBundle\Exception\NotDeployedException: There is no deferred listener "gone::away" for the event "doing"; "debug:fervo" lists those that are there.',
            'warning: 42 of mail, attempt 1: nobody.listens, all listeners, Nobody listens to the deferred event "{event}"',
        ], $logger->lines);
    }

    private function application(): TestKernel
    {
        return $this->boot($this->sqlite(), static function (ContainerConfigurator $container): void {
            $services = $container->services();
            $services->set('logger', ContextLogger::class)->public();
            $monitor = $services->set(Monitor::class)->public()
                ->tag('kernel.event_listener', ['event' => 'doing', 'method' => 'work'])
                ->tag('fervo_deferred_event.listener', ['event' => 'other', 'method' => 'work']);
            foreach ([JobReceived::class, JobHandled::class, JobFailed::class] as $event) {
                $monitor->tag('kernel.event_listener', ['event' => $event, 'method' => 'see']);
            }
        });
    }

    private function job(TestKernel $kernel, string $what, ?string $listener = null, string $name = 'doing'): Outcome
    {
        $payload = $kernel->getContainer()->get('test.service_container')->get('fervo_deferred_event.codec')->encode($name, new \ArrayObject([$what]), $listener);

        return $this->silently(static fn (): Outcome => $kernel->getContainer()->get('fervo_deferred_event.runner')->run(Job::fromParams($_SERVER, $payload)));
    }
}

final class Monitor
{
    /** @var list<string> */
    public array $seen = [];
    /** @var class-string|null */
    public ?string $throwsAt = null;

    public function see(JobReceived|JobHandled|JobFailed $told): void
    {
        $what = strtolower(substr(strrchr($told::class, '\\'), 4));
        $of = sprintf('%s %s of %s, try %d of %d: %s', $what, $told->job->id, $told->job->queue, $told->job->attempt, $told->job->maxAttempts, null === $told->event ? 'nothing' : $told->eventName.' '.$told->event[0]);
        $this->seen[] = $told instanceof JobFailed
            ? $of.': '.substr((string) strrchr('\\'.$told->error::class, '\\'), 1).($told->willRetry ? ', will be tried again' : ', is dead')
            : $of;
        if ($told::class === $this->throwsAt) {
            throw new \LogicException('of the monitor');
        }
    }

    /** @param \ArrayObject<int, string> $event */
    public function work(\ArrayObject $event): void
    {
        match ($event[0]) {
            'throw' => throw new \DomainException('as told'),
            'never again' => throw new UnrecoverableException('as told'),
            default => $this->seen[] = $event[0],
        };
    }
}

final class ContextLogger extends AbstractLogger
{
    /** @var list<string> */
    public array $lines = [];

    /** @param array<string, mixed> $context */
    public function log($level, $message, array $context = []): void
    {
        if ('warning' === $level || 'error' === $level) {
            $this->lines[] = sprintf('%s: %s of %s, attempt %d: %s, %s, %s', $level, $context['job'], $context['queue'], $context['attempt'], $context['event'], $context['listener'] ?? 'all listeners', $context['error'] ?? $message);
        }
    }
}
