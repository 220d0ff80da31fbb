<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Context;

use Symfony\Component\Routing\RequestContext;

/**
 * What absolute URLs begin with: the router's scheme, host, ports and base URL.
 *
 * @internal
 */
final class HostCarrier implements ContextCarrierInterface
{
    public function __construct(private readonly RequestContext $context)
    {
    }

    public static function name(): string
    {
        return 'host';
    }

    /** @return array{scheme: string, host: string, http_port: int, https_port: int, base_url: string} */
    public function capture(): array
    {
        return [
            'scheme' => $this->context->getScheme(),
            'host' => $this->context->getHost(),
            'http_port' => $this->context->getHttpPort(),
            'https_port' => $this->context->getHttpsPort(),
            'base_url' => $this->context->getBaseUrl(),
        ];
    }

    public function restore(array|bool|float|int|string $value): \Closure
    {
        $before = $this->capture();
        // Another version may have sent less, or more.
        $this->set((\is_array($value) ? array_intersect_key($value, $before) : []) + $before);

        return fn () => $this->set($before);
    }

    /** @param array<mixed> $host as of capture() */
    private function set(array $host): void
    {
        $this->context->setScheme((string) $host['scheme'])->setHost((string) $host['host'])
            ->setHttpPort((int) $host['http_port'])->setHttpsPort((int) $host['https_port'])
            ->setBaseUrl((string) $host['base_url']);
    }
}
