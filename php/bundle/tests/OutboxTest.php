<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests;

use Fervo\DeferredEventBundle\Backend\BackendInterface;
use Fervo\DeferredEventBundle\DataCollector\DeferralLog;
use Fervo\DeferredEventBundle\Doctrine\TransactionTracker;
use Fervo\DeferredEventBundle\Exception\SendFailedException;
use Fervo\DeferredEventBundle\Outbox;
use Fervo\DeferredEventBundle\SendMode;
use Fervo\DeferredEventBundle\Tests\Fixtures\ExitingProcess;
use Fervo\DeferredEventBundle\Tests\Fixtures\FakeBackend;
use Fervo\DeferredEventBundle\Tests\Fixtures\FakeLogger;
use Fervo\DeferredEventBundle\Tests\Support\Queue;
use PHPUnit\Framework\TestCase;

final class OutboxTest extends TestCase
{
    public function testImmediately(): void
    {
        $outbox = $this->outbox(SendMode::Immediately, $backend = new FakeBackend());
        $outbox->add(Queue::job('1'));
        $outbox->add(Queue::job('2'));

        self::assertSame([['1'], ['2']], $backend->calls);
    }

    public function testOnTerminateSendsAllTogether(): void
    {
        $outbox = $this->outbox(SendMode::OnTerminate, $backend = new FakeBackend());
        $outbox->add(Queue::job('1'));
        $outbox->add(Queue::job('2'));
        self::assertSame([], $backend->calls);

        $outbox->terminate();
        $outbox->terminate();
        self::assertSame([['1', '2']], $backend->calls);
    }

    public function testResetSendsWhatIsHeld(): void
    {
        $outbox = $this->outbox(SendMode::OnTerminate, $backend = new FakeBackend());
        $outbox->add(Queue::job('1'));
        $outbox->reset();

        self::assertSame([['1']], $backend->calls);
    }

    public function testAfterCommitWaitsForTheTransaction(): void
    {
        $transactions = new TransactionTracker();
        $outbox = $this->outbox(SendMode::AfterCommit, $backend = new FakeBackend(), transactions: $transactions);
        $outbox->add(Queue::job('outside'));
        self::assertSame([['outside']], $backend->calls);

        $connection = $transactions->watch();
        $connection->begun();
        $outbox->add(Queue::job('1'));
        $outbox->add(Queue::job('2'));
        $outbox->terminate();
        self::assertCount(1, $backend->calls);

        $connection->committed();
        self::assertSame([['outside'], ['1', '2']], $backend->calls);
    }

    public function testAfterCommitDropsAtRollback(): void
    {
        $transactions = new TransactionTracker();
        $log = new DeferralLog();
        $outbox = $this->outbox(SendMode::AfterCommit, $backend = new FakeBackend(), transactions: $transactions, log: $log);
        $connection = $transactions->watch();
        $connection->begun();
        $outbox->add(Queue::job('1'));
        $connection->rolledBack();
        $connection->begun();
        $outbox->add(Queue::job('2'));
        $connection->committed();

        self::assertSame([['2']], $backend->calls);
        self::assertSame(['dropped', 'sent'], array_column($log->entries(), 'state'));
    }

    public function testAFailureThrowsWhereItIsSentAtOnce(): void
    {
        $outbox = $this->outbox(SendMode::Immediately, new FakeBackend(failures: 1));

        $this->expectException(SendFailedException::class);
        $outbox->add(Queue::job('1'));
    }

    public function testOnFailureRunRunsOnlyWhatWasNotSent(): void
    {
        $fallback = new FakeBackend();
        $logger = new FakeLogger();
        $outbox = $this->outbox(SendMode::OnTerminate, $backend = new FakeBackend(failures: 1, refused: ['2']), $fallback, $logger);
        $outbox->add(Queue::job('1'));
        $outbox->add(Queue::job('2'));
        $outbox->terminate();

        self::assertSame([['2']], $fallback->calls);
        self::assertSame(['error: Could not send deferred events, running them now: {reason} [away]'], $logger->lines);
    }

    public function testWhatCouldNotBeSentAtTheEndIsLoggedAndTriedAgain(): void
    {
        $logger = new FakeLogger();
        $log = new DeferralLog();
        $outbox = $this->outbox(SendMode::OnTerminate, $backend = new FakeBackend(failures: 1), logger: $logger, log: $log);
        $outbox->add(Queue::job('1'));
        $outbox->terminate();
        self::assertSame(['error: Could not send deferred events yet: {reason} [away]'], $logger->lines);
        self::assertSame(['failed'], array_column($log->entries(), 'state'));

        $outbox->terminate();
        self::assertSame([['1'], ['1']], $backend->calls);
        self::assertSame(['sent'], array_column($log->entries(), 'state'));
    }

    /**
     * @testWith ["on_terminate", 0, "sent:1,2"]
     *           ["on_terminate", 9, "error: Deferred events are lost, for PHP ends now: {reason} [away]"]
     *           ["after_commit", 0, "warning: Did not send deferred events: PHP ends, and their transaction was never committed []"]
     */
    #[\PHPUnit\Framework\Attributes\TestWith(['on_terminate', 0, 'sent:1,2'])]
    #[\PHPUnit\Framework\Attributes\TestWith(['on_terminate', 9, 'error: Deferred events are lost, for PHP ends now: {reason} [away]'])]
    #[\PHPUnit\Framework\Attributes\TestWith(['after_commit', 0, 'warning: Did not send deferred events: PHP ends, and their transaction was never committed []'])]
    public function testWhenPhpEnds(string $mode, int $failures, string $expected): void
    {
        self::assertSame([$expected], $this->end($mode, $failures));
    }

    /** The worker tries it again, and it defers them again. */
    public function testWhenPhpEndsWithinAJobItsEventsHaveFailedWithIt(): void
    {
        self::assertSame([], $this->end('on_terminate', 0, isInJob: true));
    }

    /** @return list<string> what is sent, and logged */
    private function end(string $mode, int $failures, bool $isInJob = false): array
    {
        $script = sprintf('require %s; (new %s)->run(%s, %d, %s);', var_export(__DIR__.'/autoload.php', true), ExitingProcess::class, var_export($mode, true), $failures, var_export($isInJob, true));
        exec(escapeshellarg(\PHP_BINARY).' -r '.escapeshellarg($script).' 2>&1', $lines);

        return $lines;
    }

    private function outbox(SendMode $mode, BackendInterface $backend, ?BackendInterface $fallback = null, ?FakeLogger $logger = null, ?TransactionTracker $transactions = null, ?DeferralLog $log = null): Outbox
    {
        $logger ??= new FakeLogger();

        return new Outbox($backend, $mode, static fn () => $logger, null === $fallback ? null : static fn () => $fallback, $transactions, $log);
    }
}
