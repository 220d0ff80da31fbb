<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Functional;

use Fervo\DeferredEventBundle\Backend\BackendInterface;
use Fervo\DeferredEventBundle\Backend\DeferredJob;
use Fervo\DeferredEventBundle\Tests\Fixtures\TestKernel;
use Fervo\DeferredEventBundle\Tests\Support\Folder;
use Fervo\DeferredEventBundle\Tests\Support\Queue;
use Fervo\Runner\Job;
use PHPUnit\Framework\TestCase;
use Psr\Log\NullLogger;
use Symfony\Component\DependencyInjection\Loader\Configurator\ContainerConfigurator;

abstract class KernelTestCase extends TestCase
{
    protected string $queue = '';

    /** @var list<TestKernel> */
    private array $kernels = [];

    protected function tearDown(): void
    {
        foreach ($this->kernels as $kernel) {
            $kernel->shutdown();
        }
        $this->kernels = [];
    }

    /**
     * @param array<string, mixed> $config
     * @param list<class-string>   $bundles
     */
    protected function boot(array $config, ?\Closure $configure = null, array $bundles = [], bool $debug = false): TestKernel
    {
        $this->kernels[] = $kernel = new TestKernel(Folder::create(), $config, $configure, $bundles, $debug);
        $kernel->boot();

        return $kernel;
    }

    /** @return array<string, mixed> */
    protected function sqlite(): array
    {
        $this->queue = Queue::create();

        return ['backend' => ['type' => 'sqlite', 'path' => $this->queue]];
    }

    /** Runs what is in the queue as the worker would, until there is nothing more. */
    protected function work(TestKernel $kernel): void
    {
        $db = Queue::open($this->queue);
        while ([] !== $rows = Queue::rows($this->queue)) {
            $db->exec('DELETE FROM fervo_jobs WHERE id = '.$rows[0]['id']);
            $outcome = $kernel->getContainer()->get('fervo_deferred_event.runner')->run(Job::fromParams($_SERVER, $rows[0]['payload']));
            self::assertSame('ack', $outcome->kind, (string) $outcome->error);
        }
    }

    /** @return array<string, mixed> what is signed of the i-th job in the queue */
    protected function payload(int $i): array
    {
        return json_decode(explode("\n", Queue::rows($this->queue)[$i]['payload'], 2)[1], true);
    }

    /** Without what PHP's error log would print into PHPUnit's output. */
    protected function silently(\Closure $run): mixed
    {
        $log = ini_set('error_log', '/dev/null');
        try {
            return $run();
        } finally {
            ini_set('error_log', (string) $log);
        }
    }

    protected static function quiet(ContainerConfigurator $container): void
    {
        $container->services()->set('logger', NullLogger::class);
    }

    protected static function memory(ContainerConfigurator $container): void
    {
        $container->services()->set('memory', MemoryBackend::class)->public();
    }
}

final class MemoryBackend implements BackendInterface
{
    /** @var list<DeferredJob> */
    public array $jobs = [];

    public function send(DeferredJob ...$jobs): void
    {
        array_push($this->jobs, ...$jobs);
    }
}

final class CustomerRenamed
{
    public function getName(): string
    {
        return 'Ann';
    }
}

final class CustomerRenamedListener
{
    public function __invoke(CustomerRenamed $event): void
    {
    }
}
