<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Fixtures;

use Fervo\DeferredEventBundle\FervoDeferredEventBundle;
use Symfony\Bundle\FrameworkBundle\FrameworkBundle;
use Symfony\Bundle\FrameworkBundle\Kernel\MicroKernelTrait;
use Symfony\Component\DependencyInjection\ContainerBuilder;
use Symfony\Component\DependencyInjection\Loader\Configurator\ContainerConfigurator;
use Symfony\Component\HttpKernel\Kernel;
use Symfony\Component\Routing\Loader\Configurator\RoutingConfigurator;

/** A real application in a temporary folder, with the bundle's configuration as given. */
class TestKernel extends Kernel
{
    use MicroKernelTrait;

    /**
     * @param array<string, mixed>                                           $config      of fervo_deferred_event
     * @param (\Closure(ContainerConfigurator, ContainerBuilder): void)|null $configure   what else the application has
     * @param list<class-string>                                             $moreBundles beside FrameworkBundle and ours
     */
    public function __construct(
        private readonly string $folder,
        private readonly array $config,
        private readonly ?\Closure $configure = null,
        private readonly array $moreBundles = [],
        bool $debug = false,
    ) {
        parent::__construct($debug ? 'dev' : 'prod', $debug);
    }

    public function registerBundles(): iterable
    {
        foreach ([FrameworkBundle::class, ...$this->moreBundles, FervoDeferredEventBundle::class] as $bundle) {
            yield new $bundle();
        }
    }

    public function getProjectDir(): string
    {
        return $this->folder;
    }

    public function recorded(): array
    {
        return Recorder::read($this->folder.'/recorded');
    }

    protected function configureContainer(ContainerConfigurator $container, mixed $loader, ContainerBuilder $builder): void
    {
        $container->extension('framework', ['secret' => 's3cret', 'http_method_override' => false, 'test' => true, 'router' => ['utf8' => true]]
            + (Kernel::VERSION_ID >= 60400 ? ['handle_all_throwables' => true, 'php_errors' => ['log' => true]] : []));
        $container->extension('fervo_deferred_event', $this->config);
        $services = $container->services()->defaults()->autowire()->autoconfigure();
        $services->set(Recorder::class)->args([$this->folder.'/recorded'])->public();
        $services->set(Listeners::class)
            ->tag('kernel.event_listener', ['event' => OrderPlaced::class, 'method' => 'atOnce'])
            ->tag('kernel.event_listener', ['event' => 'foo.action', 'method' => 'foo']);
        if (null !== $this->configure) {
            ($this->configure)($container, $builder);
        }
    }

    protected function configureRoutes(RoutingConfigurator $routes): void
    {
    }
}
