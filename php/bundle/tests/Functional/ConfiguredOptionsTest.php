<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Functional;

use Fervo\DeferredEventBundle\Backend\DeferredJob;
use Fervo\DeferredEventBundle\DeferOptions;
use Symfony\Component\Config\Definition\Exception\InvalidConfigurationException;
use Symfony\Component\DependencyInjection\Loader\Configurator\ContainerConfigurator;

/** Queue, delay and attempts by configuration. */
final class ConfiguredOptionsTest extends KernelTestCase
{
    public function testAnEventIsDeferredAsItsNameItsClassAParentOrAnInterfaceSays(): void
    {
        self::assertSame(['of-interface', 0, null], $this->options(['events' => [Urgent::class => ['queue' => 'of-interface']]], new ParcelSent()));
        self::assertSame(['of-parent', 0, 4], $this->options(['events' => [Urgent::class => ['queue' => 'of-interface', 'attempts' => 4], Sent::class => ['queue' => 'of-parent']]], new ParcelSent()));
        self::assertSame(['of-class', 90, null], $this->options(['events' => [Sent::class => ['queue' => 'of-parent'], ParcelSent::class => ['queue' => 'of-class', 'delay' => 90]]], new ParcelSent()));
        self::assertSame(['of-name', 0, null], $this->options(['events' => [ParcelSent::class => ['queue' => 'of-class'], 'parcel.sent' => ['queue' => 'of-name']]], new ParcelSent(), 'parcel.sent'));
    }

    public function testWhatTheCodeSaysGoesFirstAndTheDefaultsLast(): void
    {
        $config = ['queue' => 'everything', 'attempts' => 9, 'events' => [ParcelSent::class => ['delay' => 60, 'attempts' => 2]]];

        self::assertSame(['everything', 60, 2], $this->options($config, new ParcelSent()));
        self::assertSame(['by-hand', 0, 2], $this->options($config, new ParcelSent(), null, new DeferOptions(delay: 0, queue: 'by-hand')));
        self::assertSame(['everything', 0, 9], $this->options($config, new \ArrayObject(), 'else'));
    }

    public function testAMistakeIsToldWhenTheContainerIsBuilt(): void
    {
        $this->expectException(InvalidConfigurationException::class);
        $this->options(['events' => [ParcelSent::class => ['attempts' => 0]]], new ParcelSent());
    }

    /**
     * @param array<string, mixed> $config
     *
     * @return array{string, int, int|null} queue, delay in seconds and attempts of its job
     */
    private function options(array $config, object $event, ?string $name = null, ?DeferOptions $options = null): array
    {
        $kernel = $this->boot(['backend' => ['type' => 'service', 'service' => 'memory']] + $config, static function (ContainerConfigurator $container): void {
            self::memory($container);
        });
        $kernel->getContainer()->get('fervo_dispatch.queue')->deferEvent($event, $name, $options);
        [$job] = $kernel->getContainer()->get('memory')->jobs;
        \assert($job instanceof DeferredJob);

        return [$job->queue, (int) round($job->delayMs() / 1000), $job->attempts];
    }
}

interface Urgent
{
}

class Sent implements Urgent
{
}

final class ParcelSent extends Sent
{
}
