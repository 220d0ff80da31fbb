<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger\Config;

/**
 * Every option of "framework.messenger", and of the transport doctrine://, with its effect under fervo-worker. A test compares the keys
 * with the configuration tree that is installed.
 *
 * @internal
 */
final class OptionTable
{
    /** Key, effect, reason, and the Symfony versions that have it: the first, and the first without it. "*" is any name. */
    private const FRAMEWORK = [
        'enabled' => [Effect::Kept, 'without Messenger, no transport is configured'],
        'routing.*.senders' => [Effect::Kept, 'messages are sent by the application'],
        'serializer.default_serializer' => [Effect::Kept, 'messages are decoded and encoded by the serializer of their transport, in PHP'],
        'serializer.symfony_serializer.format' => [Effect::Kept, 'see default_serializer'],
        'serializer.symfony_serializer.context' => [Effect::Kept, 'see default_serializer'],
        'transports.*.dsn' => [Effect::Mapped, 'the transport becomes a queue, and its connection a broker'],
        'transports.*.serializer' => [Effect::Kept, 'see default_serializer'],
        'transports.*.options' => [Effect::Mapped, 'the options of the transport: see the tables of the transports'],
        'transports.*.failure_transport' => [Effect::Kept, 'a message that failed for good is sent there by the application'],
        'transports.*.retry_strategy.service' => [Effect::Kept, 'the application decides whether and when a message runs again'],
        'transports.*.retry_strategy.max_retries' => [Effect::Kept, 'see retry_strategy.service'],
        'transports.*.retry_strategy.delay' => [Effect::Kept, 'see retry_strategy.service'],
        'transports.*.retry_strategy.multiplier' => [Effect::Kept, 'see retry_strategy.service'],
        'transports.*.retry_strategy.max_delay' => [Effect::Kept, 'see retry_strategy.service'],
        'transports.*.retry_strategy.jitter' => [Effect::Kept, 'see retry_strategy.service', 'since' => '7.1'],
        'transports.*.rate_limiter' => [Effect::Mapped, 'rate_limit and rate_period_ms of the consumer; a limiter waits in messenger:consume, which would keep a PHP process here', 'since' => '6.2'],
        'failure_transport' => [Effect::Kept, 'see transports.*.failure_transport'],
        'reset_on_message' => [Effect::None, 'services are reset between all messages, and each request has a new kernel', 'until' => '7.0'],
        'stop_worker_on_signals' => [Effect::None, 'signals end the command; fervo-worker stops at SIGTERM and SIGINT', 'since' => '6.3'],
        'default_bus' => [Effect::Kept, 'messages are handled by the bus of their BusNameStamp, else by this one'],
        'buses.*.default_middleware' => [Effect::Kept, 'messages pass the middleware of their bus', 'until' => '6.2'],
        'buses.*.default_middleware.enabled' => [Effect::Kept, 'see default_middleware', 'since' => '6.2'],
        'buses.*.default_middleware.allow_no_handlers' => [Effect::Kept, 'see default_middleware', 'since' => '6.2'],
        'buses.*.default_middleware.allow_no_senders' => [Effect::Kept, 'see default_middleware', 'since' => '6.2'],
        'buses.*.middleware.*.id' => [Effect::Kept, 'see default_middleware'],
        'buses.*.middleware.*.arguments' => [Effect::Kept, 'see default_middleware'],
    ];

    /** In the DSN or under "options"; the two last ones are PostgreSQL's. */
    private const DOCTRINE = [
        'table_name' => [Effect::Mapped, '`table` of the broker'],
        'queue_name' => [Effect::Mapped, '`queue_names` of the broker'],
        'redeliver_timeout' => [Effect::Mapped, '`redeliver_timeout_ms` of the broker, in milliseconds'],
        'auto_setup' => [Effect::None, 'the worker creates no table: run bin/console messenger:setup-transports once'],
        'use_notify' => [Effect::None, 'the worker listens to PostgreSQL, and asks for messages besides'],
        'check_delayed_interval' => [Effect::None, 'see use_notify'],
        'get_notify_timeout' => [Effect::None, 'see use_notify'],
    ];

    /** @return array<string, array{0: Effect, 1: string, since?: string, until?: string}> of one Symfony version, such as "7.4.21"; null: of all */
    public static function framework(?string $version = null): array
    {
        return array_filter(self::FRAMEWORK, static fn (array $option): bool => null === $version
            || version_compare($version, $option['since'] ?? '0', '>=') && version_compare($version, $option['until'] ?? '99', '<'));
    }

    /** @return array<string, array{0: Effect, 1: string}> */
    public static function doctrine(): array
    {
        return self::DOCTRINE;
    }

    /**
     * The options that an application has set, and that do nothing, or cannot be obeyed, under fervo-worker.
     *
     * @param list<array<mixed>> $configs of "framework.messenger", as they are written
     *
     * @return array<string, string> key => effect and reason
     */
    public static function notObeyed(array $configs): array
    {
        $set = [];
        foreach ($configs as $config) {
            $set += self::keys($config, '');
        }
        $told = [];
        foreach (self::FRAMEWORK as $key => [$effect, $reason]) {
            if (isset($set[$key]) && \in_array($effect, [Effect::None, Effect::Refused], true)) {
                $told[$key] = $effect->value.': '.$reason;
            }
        }
        ksort($told);

        return $told;
    }

    /**
     * @param array<mixed> $config
     *
     * @return array<string, true>
     */
    private static function keys(array $config, string $prefix): array
    {
        $keys = [];
        foreach ($config as $name => $value) {
            $isNamed = \in_array($prefix, ['transports.', 'buses.', 'routing.'], true);
            $key = $prefix.($isNamed || \is_int($name) ? '*' : $name);
            $keys[$key] = true;
            if (\is_array($value)) {
                $keys += self::keys($value, $key.'.');
            }
        }

        return $keys;
    }
}
